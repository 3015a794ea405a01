package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// startReplicas runs one server with an embedded feed that listens, and more
// that join it.
func startReplicas(t *testing.T, issuer *extauthztest.Issuer, n int, more string) []*child {
	t.Helper()
	first := writeConfig(t, issuer, strings.Replace(basicConfig, `{directory: "%s/data"}`, `{directory: "%s/data", listen: "127.0.0.1:0"}`, 1)+more)
	replicas := []*child{startReady(t, first)}
	var address string
	until(t, "the feed's address", func() bool { address = replicas[0].address("feed"); return address != "" })
	key := filepath.Join(filepath.Dir(first), "data", "feed.key")
	for range n - 1 {
		joined := strings.Replace(basicConfig, `{embedded: {directory: "%s/data"}}`,
			`{key_file: "`+key+`", nats: {urls: ["nats://`+address+`"]}, snapshot: {directory: "%s/data"}}`, 1)
		replicas = append(replicas, startReady(t, writeConfig(t, issuer, joined+more)))
	}
	return replicas
}

// TestReplicas: what is revoked at one replica is denied at the others, also
// at one that joins later; a replica whose feed is gone says so, and goes on
// when it is back.
func TestReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 2, "")
	owner, joined := all[0], all[1]
	tok := issuer.Token(time.Now())
	joined.wantReason(tok, "ok")
	owner.revoke("session", extauthztest.Session)
	until(t, "the other replica's denial", func() bool { return joined.ask(tok).Reason() == "session_revoked" })

	other := issuer.Token(time.Now(), extauthztest.Claims{"sid": "other"})
	joined.revoke("session", "other")
	until(t, "the owner's denial", func() bool { return owner.ask(other).Reason() == "session_revoked" })

	joined.kill()
	joined = startReady(t, joined.config)
	joined.wantReason(tok, "session_revoked")
	joined.wantReason(other, "session_revoked")
	if code := joined.terminate(); code != 0 {
		t.Errorf("drained with %d:\n%s", code, joined.log)
	}
}

// TestProofOverReplicas: a proof that was used at one replica is a replay at
// another 50 ms later.
func TestProofOverReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 3, "")
	alice := extauthztest.NewProver(t, "ES256")
	tok := issuer.Token(time.Now(), extauthztest.DPoPBound(alice.JKT))
	for round := range 9 {
		proof := dpopRequest(alice, tok)
		if a := all[round%3].askFor(proof); a.Reason() != "ok" {
			t.Fatalf("round %d: %v", round, a)
		}
		<-time.After(50 * time.Millisecond) // what is promised: that is how long the others may take
		for _, replica := range all {
			if a := replica.askFor(proof); a.Reason() != "dpop_replayed" {
				t.Errorf("round %d: %v", round, a)
			}
		}
	}
}

// TestStrictProofs: with dpop.replay strict, of a hundred checks with one proof
// over three replicas at once exactly one is let through; and without the feed
// none is.
func TestStrictProofs(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 3, "dpop: {replay: strict}\n")
	alice := extauthztest.NewProver(t, "ES256")
	tok := issuer.Token(time.Now(), extauthztest.DPoPBound(alice.JKT))
	for range 5 {
		proof := dpopRequest(alice, tok)
		var allowed, replayed atomic.Int64
		var w sync.WaitGroup
		for i := range 100 {
			w.Go(func() {
				switch a := all[i%3].askFor(proof); a.Reason() {
				case "ok":
					allowed.Add(1)
				case "dpop_replayed":
					replayed.Add(1)
				default:
					t.Errorf("%v", a)
				}
			})
		}
		w.Wait()
		if allowed.Load() != 1 || replayed.Load() != 99 {
			t.Errorf("%d allowed, %d replayed", allowed.Load(), replayed.Load())
		}
	}
	all[0].kill() // the broker
	if a := all[1].askFor(dpopRequest(alice, tok)); a.Status != 503 {
		t.Errorf("without the feed: %v", a)
	}
}

func dpopRequest(by *extauthztest.Prover, tok string) extauthztest.Request {
	proof := by.Proof("GET", "https://api.example/x", tok, time.Now())
	return extauthztest.Request{Path: "/x", Headers: [][2]string{{"authorization", "DPoP " + tok}, {"dpop", proof}}}
}

// TestReplicaNeedsTheKey: without the feed's key nobody joins.
func TestReplicaNeedsTheKey(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	owner := startReplicas(t, issuer, 1, "")[0]
	key := filepath.Join(t.TempDir(), "feed.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(basicConfig, `{embedded: {directory: "%s/data"}}`,
		`{key_file: "`+key+`", nats: {urls: ["nats://`+owner.address("feed")+`"]}, snapshot: {directory: "%s/data"}}`, 1)
	stranger := startChild(t, writeConfig(t, issuer, config))
	until(t, "the refusal in the log", func() bool { return strings.Contains(stranger.log.String(), "uthorization") })
	if status, _ := stranger.http("GET", "/readyz", ""); status != 503 {
		t.Errorf("readyz is %d", status)
	}
	if a := stranger.ask(issuer.Token(time.Now())); a.Reason() != "not_ready" {
		t.Errorf("%v", a)
	}
}
