"""A link that signs a browser in on the page, made by the API of a running stack."""

import httpx

from relay_stack.files.stack_state import StackState

SECONDS = 5.0


def page_link(state: StackState) -> str:
    """Return a link that signs in once within ten minutes; if the API does not make one, the address of the page."""
    try:
        with httpx.Client(base_url=state.api_url, timeout=SECONDS, trust_env=False) as client:
            answer = client.post("/v1/sign-in-codes", headers={"Authorization": f"Bearer {state.token}"})
            return str(answer.raise_for_status().json()["url"])
    except (httpx.HTTPError, ValueError, KeyError):
        return state.api_url
