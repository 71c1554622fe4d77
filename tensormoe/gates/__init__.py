"""From input vectors to mixture coefficients."""
