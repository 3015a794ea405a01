package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// built is a process with all its parts and nothing running, so that a test
// can hand it records which no clock of this machine would write.
func built(t *testing.T) (*process, *bytes.Buffer) {
	t.Helper()
	c, problems := config.Load(writeConfig(t, extauthztest.NewIssuer(t, idp), basicConfig))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log := &bytes.Buffer{}
	p := &process{
		config: c, log: slog.New(slog.NewTextHandler(log, nil)), started: time.Now(),
		sync: &cache.Sync{}, evidence: cache.NewEvidence(), clock: &extauthz.Clock{},
	}
	t.Cleanup(p.close)
	for _, build := range []func() error{p.openFeed, p.openKeys, p.openObserve, p.openCheck, p.openAdmin} {
		if err := build(); err != nil {
			t.Fatal(err)
		}
	}
	return p, log
}

// TestReplayRaisesTheClock: what had expired before a restart stays expired
// where the wall clock has stepped back meanwhile (promise 8), and a record of
// a clock that was far ahead does not deny everything at each start.
func TestReplayRaisesTheClock(t *testing.T) {
	p, log := built(t)
	now := time.Now()
	near := func(d, want time.Duration) bool { return d > want-time.Minute && d <= want }

	p.apply(1, now.AddDate(50, 0, 0), nil)
	p.apply(2, now.AddDate(50, 0, 0), nil)
	if behind := p.clock.Behind(now); behind != 0 {
		t.Errorf("a record of 50 years ahead moves the clock by %v", behind)
	}
	if n := strings.Count(log.String(), "dated far ahead"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
	p.apply(3, now.Add(time.Hour), nil)
	if behind := p.clock.Behind(now); !near(behind, time.Hour) {
		t.Errorf("after a record of an hour ahead the clock is %v behind", behind)
	}
	p.sync.Advance(3, time.Now()) // live: other replicas' clocks count no more
	p.apply(4, now.Add(2*time.Hour), nil)
	if behind := p.clock.Behind(now); !near(behind, time.Hour) {
		t.Errorf("a record met while live moves the clock: %v behind", behind)
	}
}
