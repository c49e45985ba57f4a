"""Who calls, and what they may: tokens, signatures of webhooks, limits, headers."""
