"""What the tests share."""

import pytest

# So that a failed assert in here says what was compared.
pytest.register_assert_rewrite("tests.support.answers", "tests.support.cases", "tests.support.script")
