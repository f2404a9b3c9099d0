"""Why a classifier decided as it did: maps of what it looked at, figures of them, galleries of its errors."""
