"""What several processes of one desk share and may lose: last prices, rate budgets, fan-out, revocations."""
