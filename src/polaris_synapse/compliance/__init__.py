"""Compliance: KYC, screening lists, AML rules, surveillance, cases, reports and the audit log."""
