package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// heard is how many proofs a replica has heard of from the others.
func (c *child) heard() int {
	_, metrics := c.http("GET", "/metrics", "")
	m := regexp.MustCompile(`dpop_proofs_shared_total\{direction="heard"\} (\d+)`).FindStringSubmatch(metrics)
	if m == nil {
		c.t.Fatal("the metrics do not tell of shared proofs")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestProofOverReplicas: a proof that was used at one replica is a replay at
// the others, once they have heard of it; BenchmarkSpread in cache/feed has how
// soon that is.
func TestProofOverReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 3, "")
	alice := extauthztest.NewProver(t, "ES256")
	tok := issuer.Token(time.Now(), extauthztest.DPoPBound(alice.JKT))
	for _, replica := range all { // each hears the others
		until(t, "the replicas to hear each other", func() bool {
			_, ready := replica.http("GET", "/readyz?verbose", "")
			return !strings.Contains(ready, "[-]proofs")
		})
	}
	for round := range 9 {
		proof := dpopRequest(alice, tok)
		before := [3]int{all[0].heard(), all[1].heard(), all[2].heard()}
		if a := all[round%3].askFor(proof); a.Reason() != "ok" {
			t.Fatalf("round %d: %v", round, a)
		}
		for i, replica := range all {
			if i != round%3 {
				until(t, "the proof to be heard of", func() bool { return replica.heard() > before[i] })
			}
			if a := replica.askFor(proof); a.Reason() != "dpop_replayed" {
				t.Errorf("round %d, replica %d: %v", round, i, a)
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

// command runs a client verb against this replica.
func (c *child) command(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	return holdfast(c.t, append(args, "--server", "http://"+c.admin)...)
}

func (c *child) get(path string, into any) {
	c.t.Helper()
	status, body := c.http("GET", path, "")
	if err := json.Unmarshal([]byte(body), into); err != nil || status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, status, body)
	}
}

// knows waits until this replica has heard n of them, itself among them.
func (c *child) knows(n int) {
	c.t.Helper()
	until(c.t, fmt.Sprint(n, " replicas"), func() bool {
		var f feedState
		c.get("/v1/feed", &f)
		return len(f.Replicas) == n
	})
}

// TestWait: --wait returns when every replica denies, and says how long that
// took; one that hangs is named, and one that has drained is not waited for.
func TestWait(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 3, "")
	for _, replica := range all {
		replica.knows(3)
	}
	said := regexp.MustCompile(`^r[0-9]+-[0-9]+ enforced by 3 of 3 replicas after [0-9]+ ms\n$`)
	for i := range 20 {
		sid := fmt.Sprint("s", i)
		tok := issuer.Token(time.Now(), extauthztest.Claims{"sid": sid})
		all[i%3].wantReason(tok, "ok")
		code, stdout, stderr := all[(i+1)%3].command("revoke", "session", sid, "--issuer", idp, "--wait", "20s")
		if code != 0 || !said.MatchString(stdout) {
			t.Fatalf("exit %d %s%s", code, stdout, stderr)
		}
		for _, replica := range all {
			replica.wantReason(tok, "session_revoked") // at once
		}
		id, _, _ := strings.Cut(stdout, " ")
		if code, _, stderr := all[i%3].command("unrevoke", id, "--wait", "20s"); code != 0 {
			t.Fatalf("exit %d %s", code, stderr)
		}
		for _, replica := range all {
			replica.wantReason(tok, "ok")
		}
	}
	code, stdout, _ := all[0].command("feed", "status")
	if code != 0 || strings.Count(stdout, "\nreplica ") != 3 || strings.Count(stdout, "this one") != 1 || strings.Count(stdout, " ago") != 2 {
		t.Errorf("exit %d\n%s", code, stdout)
	}

	var f feedState
	all[2].get("/v1/feed", &f)
	hanging := f.Replicas[0].Name
	if err := all[2].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := all[0].command("revoke", "session", "x", "--issuer", idp, "--wait", "300ms")
	if code != exitNotEnforced || !strings.Contains(stdout, "2 of 3 replicas") || !strings.Contains(stderr, "within 300ms: "+hanging+"\n") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if err := all[2].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	all[2].terminate()
	if code, stdout, stderr := all[0].command("revoke", "session", "y", "--issuer", idp, "--wait", "5s"); code != 0 || !strings.Contains(stdout, "2 of 2") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestEnforcedOverReplicas: what every replica has denied adds up at each, and
// outlives one that goes.
func TestEnforcedOverReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 2, "")
	tok := issuer.Token(time.Now())
	path := "/v1/revocations/" + all[0].revoke("session", extauthztest.Session)["id"].(string)
	for i, replica := range all {
		until(t, "the denial", func() bool { return replica.ask(tok).Reason() == "session_revoked" })
		for range i + 2 {
			replica.wantReason(tok, "session_revoked")
		}
	}
	count := func(c *child) uint64 {
		var r revocation
		c.get(path, &r)
		if e := r.Enforced; e.Count > 0 && (e.First == nil || e.Last == nil || e.First.After(*e.Last)) {
			t.Errorf("%+v", e)
		}
		return r.Enforced.Count
	}
	const denied = 2 + 1 + 3 + 1
	for _, replica := range all {
		until(t, "the sum", func() bool { return count(replica) == denied })
	}
	all[1].terminate()
	if got := count(all[0]); got != denied {
		t.Errorf("without the other one: %d", got)
	}
	again := startReady(t, all[1].config)
	until(t, "what it had told", func() bool { return count(again) == denied })
}

// TestIdempotencyOverReplicas: a repeat at another replica, while the first is
// still under way or later, after a kill or a lift, revokes nothing twice.
func TestIdempotencyOverReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 3, "")
	post := func(c *child, key, sid string) (int, revocation) {
		status, body := c.http("POST", "/v1/revocations", fmt.Sprintf(`{"kind":"session","value":%q,"issuer":%q}`, sid, idp), "Idempotency-Key", key)
		var r revocation
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Errorf("%d %s", status, body)
		}
		return status, r
	}
	for round := range 10 {
		key := fmt.Sprint("k", round)
		ids := make([]string, 6)
		var w sync.WaitGroup
		for i := range ids {
			w.Go(func() { _, r := post(all[i%3], key, "s"+key); ids[i] = r.ID })
		}
		w.Wait()
		for _, id := range ids {
			if id != ids[0] || id == "" {
				t.Fatalf("ids %v", ids)
			}
		}
		if status, _ := post(all[round%3], key, "other"); status != http.StatusConflict {
			t.Errorf("another body: %d", status)
		}
	}
	all[1].kill()
	joined := startReady(t, all[1].config)
	status, first := post(joined, "k0", "sk0")
	if status != http.StatusCreated || first.Lifted != nil {
		t.Errorf("%d %+v", status, first)
	}
	if code, _, stderr := all[2].command("unrevoke", first.ID, "--wait", "20s"); code != 0 {
		t.Fatal(stderr)
	}
	for _, replica := range []*child{all[0], joined, all[2]} {
		if status, r := post(replica, "k0", "sk0"); status != http.StatusCreated || r.ID != first.ID || r.Lifted == nil {
			t.Errorf("after the lift: %d %+v", status, r)
		}
	}
	var list listed
	joined.get("/v1/revocations?limit=1000", &list)
	if len(list.Items) != 9 {
		t.Errorf("%d in force", len(list.Items))
	}
}
