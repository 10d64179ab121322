"""The images that Relay builds."""
