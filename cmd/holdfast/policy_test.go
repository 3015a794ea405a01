package main

import (
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config"
)

// TestMaxKept: a token may begin ahead of our clock and end behind it, and its
// revocation has to be known all the while.
func TestMaxKept(t *testing.T) {
	for _, tc := range []struct{ retention, skew, other, want time.Duration }{
		{720 * time.Hour, 30 * time.Second, 0, 720*time.Hour - time.Minute},
		{time.Hour, 5 * time.Minute, time.Second, 50 * time.Minute},
		{time.Hour, time.Second, 5 * time.Minute, 50 * time.Minute},
		{time.Minute, 5 * time.Minute, 0, time.Second}, // never none: 0 would be for ever
	} {
		c := &config.Config{Feed: config.Feed{Retention: tc.retention}, Issuers: []config.Issuer{{ClockSkew: tc.skew}, {ClockSkew: tc.other}}}
		if got := maxKept(c); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
