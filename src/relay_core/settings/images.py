"""Settings of uploaded images."""

from pydantic import Field

from relay_core.settings.base import SettingsGroup


class ImageSettings(SettingsGroup):
    """Bounds on uploaded images, and how long unused ones are kept."""

    image_max_bytes: int = Field(
        20 << 20, ge=1024, le=64 << 20, description="Largest uploaded image in bytes. Set it for the API."
    )
    image_max_pixels: int = Field(
        64_000_000, ge=1, le=1 << 30, description="Most pixels of an uploaded image. Set it for the API."
    )
    image_unused_hours: float = Field(
        24, gt=0, le=24 * 365, description="Hours after which an uploaded image that belongs to no task is deleted."
    )
