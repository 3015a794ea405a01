package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestAcknowledgedIsDurable is promise 1: revoke, 201, kill -9 at once,
// restart, and the session is still denied. Twenty rounds, each with all that
// was revoked before.
func TestAcknowledgedIsDurable(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, basicConfig)
	now := time.Now()
	spared := issuer.Token(now, extauthztest.Claims{"sid": "spared", "exp": now.Add(time.Hour).Unix()})
	c := startReady(t, config)
	var revoked []string
	for round := range 20 {
		sid := fmt.Sprintf("s%d", round)
		tok := issuer.Token(now, extauthztest.Claims{"sid": sid, "exp": now.Add(time.Hour).Unix()})
		c.wantReason(tok, "ok")
		c.revoke("session", sid)
		c.kill()
		revoked = append(revoked, tok)

		c = startChild(t, config)
		// From the first answer on: either it can not know yet, or it denies.
		until(t, "an answer that is not not_ready", func() bool {
			a := c.ask(tok)
			if a.Verdict == extauthztest.VerdictOK {
				t.Fatalf("round %d: allowed after the restart", round)
			}
			return a.Reason() == "session_revoked"
		})
		c.untilReady()
		for i, old := range revoked {
			if a := c.ask(old); a.Reason() != "session_revoked" {
				t.Fatalf("round %d: session of round %d is %v", round, i, a)
			}
		}
		c.wantReason(spared, "ok")
	}
}

// TestDamagedLogIsNoticed is promise 9 over a restart: acknowledged records
// that are gone from the broker's files make the replica say feed_stale.
func TestDamagedLogIsNoticed(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, basicConfig)
	data := filepath.Join(filepath.Dir(config), "data")
	c := startReady(t, config)
	tok := issuer.Token(time.Now())
	c.revoke("session", "another")
	c.terminate()
	if err := os.RemoveAll(filepath.Join(data, "jetstream")); err != nil {
		t.Fatal(err)
	}

	c = startChild(t, config)
	until(t, "feed_stale", func() bool {
		a := c.ask(tok)
		if a.Verdict != extauthztest.VerdictError || a.Status != http.StatusServiceUnavailable {
			t.Fatalf("answer %v while the log lacks what was acknowledged", a)
		}
		return a.Reason() == "feed_stale"
	})
	if status, body := c.http("POST", "/v1/revocations", `{"kind":"session","value":"s","issuer":"https://idp.example"}`); status != 503 || !strings.Contains(body, "not_durable") {
		t.Errorf("revoke on a broken feed: %d %s", status, body)
	}
	if status, body := c.http("GET", "/readyz?verbose", ""); status != 503 || !strings.Contains(body, "feed") {
		t.Errorf("readiness: %d %s", status, body)
	}
	c.kill()

	// The operator accepts the loss: the documented way.
	if err := os.Remove(filepath.Join(data, "feed.head")); err != nil {
		t.Fatal(err)
	}
	c = startReady(t, config)
	c.wantReason(tok, "ok")
}

// TestForeignKeyIsNoticed: a feed written under another key is no feed.
func TestForeignKeyIsNoticed(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, basicConfig)
	c := startReady(t, config)
	c.revoke("session", "s")
	c.terminate()
	key := filepath.Join(filepath.Dir(config), "data", "feed.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	c = startChild(t, config)
	until(t, "feed_stale", func() bool {
		a := c.ask(issuer.Token(time.Now()))
		if a.Verdict == extauthztest.VerdictOK {
			t.Fatalf("allowed by a feed that can not be verified: %v", a)
		}
		return a.Reason() == "feed_stale"
	})
}

// TestSecondProcessIsRefused: two processes on one directory would both write.
func TestSecondProcessIsRefused(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, basicConfig)
	startReady(t, config)
	second := childThatFails(t, "serve", "-c", config)
	if second.code != 1 || !strings.Contains(second.output, "data") {
		t.Errorf("exit %d, said:\n%s", second.code, second.output)
	}
}
