"""The `polaris` command line."""
