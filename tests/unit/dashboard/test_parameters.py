"""Forms of the pages, read as the bodies of the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from naq.dashboard.api.parameters import RescheduleBody, ScaleBody, given, read_form
from naq.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({"cron": "", "interval": "1h30m", "csrf": "x"}, {"interval": 5400.0}),
        ({"interval": "90", "repeat": "3"}, {"interval": 90.0, "repeat": 3}),
        ({"next_run": "2030-01-31T09:00"}, {"next_run": datetime(2030, 1, 31, 9, tzinfo=UTC)}),
        ({"cron": "* * * * *", "timezone": ""}, {"cron": "* * * * *"}),
        ({}, {}),
    ],
)
def test_a_form_is_the_body_it_stands_for(form, body):
    assert given(read_form(RescheduleBody, form)) == body


@pytest.mark.parametrize(
    ("kind", "form", "says"),
    [
        (RescheduleBody, {"interval": "soon"}, "'soon' is not a duration"),
        (RescheduleBody, {"interval": "10ms"}, "interval"),
        (RescheduleBody, {"repeat": "many"}, "repeat"),
        (RescheduleBody, {"next_run": "noon"}, "noon"),
        (ScaleBody, {"replicas": ""}, "replicas"),
        (ScaleBody, {"replicas": "1001"}, "replicas"),
    ],
)
def test_what_does_not_fit_is_refused(kind, form, says):
    with pytest.raises(ConfigurationError, match=says):
        read_form(kind, form)


def test_no_replicas_is_a_number_of_them():
    assert given(read_form(ScaleBody, {"replicas": "0"})) == {"replicas": 0}
    assert given(read_form(ScaleBody, {"replicas": 0})) == {"replicas": 0}
