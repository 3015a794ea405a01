package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// often is basicConfig with a snapshot at each record, and records often.
var often = strings.Replace(basicConfig, `"%s/data"}}`, `"%s/data"}, snapshot: {interval: 100ms}, max_age: 3s}`, 1)

// kept is a configuration and where its state is.
type kept struct {
	config, data, snapshot string
	issuer                 *extauthztest.Issuer
}

func keep(t *testing.T, text string) *kept {
	k := &kept{issuer: extauthztest.NewIssuer(t, idp)}
	k.config = writeConfig(t, k.issuer, text)
	k.data = filepath.Join(filepath.Dir(k.config), "data")
	k.snapshot = filepath.Join(k.data, "index.snapshot")
	return k
}

func (k *kept) token(sid string) string {
	return k.issuer.Token(time.Now(), extauthztest.Claims{"sid": sid, "exp": time.Now().Add(time.Hour).Unix()})
}

// snapshotAfter waits until a snapshot was written that has everything which
// was acknowledged up to now.
func (k *kept) snapshotAfter(c *child) {
	c.t.Helper()
	for range 2 { // the first may have been begun before
		before, _ := os.Stat(k.snapshot)
		until(c.t, "a snapshot", func() bool {
			now, err := os.Stat(k.snapshot)
			return err == nil && (before == nil || !os.SameFile(before, now))
		})
	}
}

// restarted starts again and asks from the first answer on: either it can not
// know yet, or it denies.
func (k *kept) restarted(t *testing.T, denied ...string) *child {
	t.Helper()
	c := startChild(t, k.config)
	for _, tok := range denied {
		until(t, "an answer that is not not_ready", func() bool {
			a := c.ask(tok)
			if a.Verdict == extauthztest.VerdictOK {
				t.Fatalf("allowed after the restart: %v\n%s", a, c.log)
			}
			return a.Reason() == "session_revoked"
		})
	}
	c.untilReady()
	return c
}

func (c *child) said(pattern string) bool {
	return regexp.MustCompile(pattern).MatchString(c.log.String())
}

// TestSnapshotRestart: kill -9 after a snapshot and some records more; the next
// start reads the snapshot, the rest from the feed, and knows the same.
func TestSnapshotRestart(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	spared := k.token("spared")
	post := func(c *child) (int, string, string) {
		status, body := c.http("POST", "/v1/revocations", `{"kind":"session","value":"once","issuer":"`+idp+`"}`, "Idempotency-Key", "k1")
		var r revocation
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatalf("%d %s", status, body)
		}
		return status, r.ID, body
	}
	status, id, body := post(c)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	all := []string{k.token("once")}
	for round := range 4 {
		before, behind := fmt.Sprint("before", round), fmt.Sprint("behind", round)
		c.revoke("session", before)
		k.snapshotAfter(c)
		c.revoke("session", behind)
		c.kill()
		all = append(all, k.token(before), k.token(behind))
		c = k.restarted(t, all...)
		c.wantReason(spared, "ok")
		if !c.said("index snapshot read") || c.said("moved aside") {
			t.Fatalf("round %d:\n%s", round, c.log)
		}
	}
	// The admin API remembers what the snapshot does not tell it.
	if status, again, body := post(c); status != http.StatusCreated || again != id {
		t.Errorf("the same request again: %d %s, was %s", status, body, id)
	}
	if status, body := c.http("GET", "/v1/revocations/"+id, ""); status != http.StatusOK || !strings.Contains(body, "once") {
		t.Errorf("%d %s", status, body)
	}
	if _, body := c.http("GET", "/metrics", ""); !regexp.MustCompile(`holdfast_snapshot_last_success_timestamp_seconds 1\.\d+e\+09`).MatchString(body) {
		t.Error("the time of the last snapshot is not among the metrics")
	}
	if _, body := c.http("GET", "/readyz?verbose", ""); !strings.Contains(body, "snapshot") {
		t.Error(body)
	}
}

// TestSnapshotDamage: whatever is done to the file, the next start notices,
// says so, reads the whole feed, and lets in nothing that is revoked.
func TestSnapshotDamage(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	c.revoke("session", "s")
	key, err := os.ReadFile(filepath.Join(k.data, "feed.key"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := func(key []byte) func([]byte) []byte {
		other := keep(t, often)
		if err := os.Mkdir(other.data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other.data, "feed.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		startReady(t, other.config).terminate()
		b, err := os.ReadFile(other.snapshot)
		if err != nil {
			t.Fatal(err)
		}
		return func([]byte) []byte { return b }
	}
	tok, spared := k.token("s"), k.token("spared")
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"truncated", func(b []byte) []byte { return b[:len(b)-100] }},
		{"cut to half", func(b []byte) []byte { return b[:len(b)/2] }},
		{"zero length", func([]byte) []byte { return nil }},
		{"a flipped bit", func(b []byte) []byte { b[len(b)/3] ^= 0x10; return b }},
		{"a flipped bit in its MAC", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"from another cluster", elsewhere(bytes.Repeat([]byte("k"), 32))},
		{"from another cluster of the same key", elsewhere(key)},
		{"noise", func([]byte) []byte { return bytes.Repeat([]byte("noise"), 5000) }},
	} {
		k.snapshotAfter(c)
		c.kill()
		b, err := os.ReadFile(k.snapshot)
		if err != nil {
			t.Fatal(err)
		}
		damaged := tt.damage(b)
		if err := os.WriteFile(k.snapshot, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		c = k.restarted(t, tok)
		c.wantReason(spared, "ok")
		if !c.said(`level=ERROR msg="index snapshot can not be used.*moved aside.*moved=true`) || c.said("index snapshot read") {
			t.Errorf("%s:\n%s", tt.name, c.log)
		}
		if bad, err := os.ReadFile(k.snapshot + ".bad"); err != nil || !bytes.Equal(bad, damaged) {
			t.Errorf("%s: what was moved aside: %v", tt.name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(k.data, "*.bad*"))
	if err != nil || len(files) != 1 {
		t.Errorf("moved aside: %v", files)
	}
}

// TestSnapshotOfALostLog: the operator begins a new feed in the documented way.
// The snapshot of the old one is not taken for its beginning.
func TestSnapshotOfALostLog(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	c.revoke("session", "old")
	k.snapshotAfter(c)
	c.terminate()
	if err := os.RemoveAll(filepath.Join(k.data, "jetstream")); err != nil {
		t.Fatal(err)
	}
	c = startChild(t, k.config)
	until(t, "feed_stale", func() bool {
		a := c.ask(k.token("old"))
		if a.Verdict == extauthztest.VerdictOK {
			t.Fatalf("allowed while the log is gone: %v", a)
		}
		return a.Reason() == "feed_stale"
	})
	c.kill()
	if err := os.Remove(filepath.Join(k.data, "feed.head")); err != nil {
		t.Fatal(err)
	}
	c = startReady(t, k.config)
	c.wantReason(k.token("old"), "ok")
	c.revoke("session", "new")
	c.wantReason(k.token("new"), "session_revoked")
}

// TestSnapshotOldOneBroughtBack: an older snapshot of the same feed is as good
// as a newer one, for the log has the rest.
func TestSnapshotOldOneBroughtBack(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	c.revoke("session", "first")
	k.snapshotAfter(c)
	old, err := os.ReadFile(k.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	c.revoke("session", "second")
	c.kill()
	if err := os.WriteFile(k.snapshot, old, 0o600); err != nil {
		t.Fatal(err)
	}
	c = k.restarted(t, k.token("first"), k.token("second"))
	if !c.said("index snapshot read") {
		t.Error(c.log)
	}
}

// TestSnapshotAtTheEnd: SIGTERM writes it, whatever the interval.
func TestSnapshotAtTheEnd(t *testing.T) {
	k := keep(t, basicConfig)
	c := startReady(t, k.config)
	c.revoke("session", "s")
	if code := c.terminate(); code != 0 {
		t.Fatalf("exit %d\n%s", code, c.log)
	}
	if info, err := os.Stat(k.snapshot); err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	c = k.restarted(t, k.token("s"))
	if !c.said("index snapshot read") {
		t.Error(c.log)
	}
}

// TestSnapshotNotWritable: the directory takes no file. The server goes on and
// says so.
func TestSnapshotNotWritable(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	k.snapshotAfter(c)
	c.kill()
	if err := os.Remove(k.snapshot); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(k.snapshot, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(k.snapshot+".bad", "too"), 0o700); err != nil {
		t.Fatal(err)
	}
	c = startReady(t, k.config)
	c.revoke("session", "s")
	c.wantReason(k.token("s"), "session_revoked")
	until(t, "the failure", func() bool { return c.said("snapshot can not be written") })
	if status, body := c.http("GET", "/readyz?verbose", ""); status != http.StatusOK || !strings.Contains(body, "write the index snapshot") {
		t.Errorf("%d %s", status, body)
	}
	if left, _ := filepath.Glob(filepath.Join(k.data, ".index.snapshot*")); len(left) > 1 { // one may be under way
		t.Errorf("left over: %v", left)
	}
}

// TestSnapshotOfAReplica: one that joins another's feed has a snapshot of its
// own, and starts from it also where the feed is not there yet.
func TestSnapshotOfAReplica(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	all := startReplicas(t, issuer, 2, "")
	owner, joined := all[0], all[1]
	tok, later := issuer.Token(time.Now()), issuer.Token(time.Now(), extauthztest.Claims{"sid": "later"})
	owner.revoke("session", extauthztest.Session)
	until(t, "the denial", func() bool { return joined.ask(tok).Reason() == "session_revoked" })
	joined.terminate()
	owner.revoke("session", "later")
	again := startReady(t, joined.config)
	again.wantReason(tok, "session_revoked")
	again.wantReason(later, "session_revoked")
	if !again.said("index snapshot read") || again.said("before the feed can be asked") {
		t.Error(again.log)
	}
	again.kill()
	owner.kill()
	alone := startChild(t, joined.config)
	alone.wantReason(issuer.Token(time.Now(), extauthztest.Claims{"sid": "another"}), "not_ready")
	alone.wantReason(tok, "session_revoked")
	if !alone.said("index snapshot read") || !alone.said("before the feed can be asked") {
		t.Error(alone.log)
	}
}

// TestSnapshotMarks: what records tell beside the index is in the snapshot too.
func TestSnapshotMarks(t *testing.T) {
	p, _ := built(t)
	s := &p.snapshot
	now := time.Now()
	with := []cache.Event{{Request: cache.Key{1}}}
	for i, r := range []struct {
		ago  time.Duration
		with bool
	}{
		{50 * time.Hour, true}, {26 * time.Hour, true}, {23 * time.Hour, false}, {22 * time.Hour, true},
		{21*time.Hour + time.Minute, true}, {20 * time.Hour, true}, {-48 * time.Hour, false}, {-time.Hour, false},
	} {
		events := with
		if !r.with {
			events = nil
		}
		s.note(uint64(i+1), now.Add(-r.ago), events)
	}
	var numbers []uint64
	for _, k := range s.keyed {
		numbers = append(numbers, k.number)
	}
	if fmt.Sprint(numbers) != "[4 6]" || !s.passed.Equal(now.Add(time.Hour)) {
		t.Errorf("keyed %v, passed %v", numbers, s.passed)
	}
	s.sweeping(now)
	s.sweeping(now.Add(-time.Minute))
	if !s.swept.Equal(now) {
		t.Errorf("swept %v", s.swept)
	}
}

// TestSnapshotClock: over a restart the clock keeps the time that records have
// proved, and what a clock far ahead has swept away comes back from the feed.
func TestSnapshotClock(t *testing.T) {
	p, _ := built(t)
	path := p.snapshot.file.Path
	run := func(p *process, leave func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- p.feed.Run(ctx) }()
		until(t, "the feed", func() bool { return p.sync.Health(time.Now(), time.Minute) == cache.Fresh })
		cancel()
		if err := <-ran; err != nil {
			t.Fatal(err)
		}
		leave()
		p.lastSnapshot()
		if p.snapshot.failed != nil || p.snapshot.last().IsZero() {
			t.Fatal(p.snapshot.failed)
		}
	}
	next := func(p *process) (*process, *bytes.Buffer) {
		p.close()
		log := &bytes.Buffer{}
		q := &process{
			config: p.config, log: slog.New(slog.NewTextHandler(log, nil)), started: time.Now(),
			sync: &cache.Sync{}, evidence: cache.NewEvidence(), clock: &extauthz.Clock{},
		}
		t.Cleanup(q.close)
		for _, build := range []func() error{q.openFeed, q.openKeys, q.openObserve, q.openCheck, q.openAdmin} {
			if err := build(); err != nil {
				t.Fatal(err)
			}
		}
		return q, log
	}
	run(p, func() { p.snapshot.note(99, time.Now().Add(time.Hour), nil) })
	q, log := next(p)
	if behind := q.clock.Behind(time.Now()); behind < 50*time.Minute || !strings.Contains(log.String(), "index snapshot read") {
		t.Errorf("%v behind\n%s", behind, log)
	}
	run(q, func() { q.snapshot.sweeping(time.Now().Add(time.Hour)) })
	r, log := next(q)
	if r.feed.Position().Number != 0 || r.snapshot.refused == nil || !strings.Contains(log.String(), "the clock is wrong, or was") {
		t.Errorf("at %d\n%s", r.feed.Position().Number, log)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}

// TestSnapshotHalfWritten: what a kill in the middle of a write leaves is
// removed, and nobody's business.
func TestSnapshotHalfWritten(t *testing.T) {
	k := keep(t, often)
	c := startReady(t, k.config)
	c.revoke("session", "s")
	k.snapshotAfter(c)
	c.kill()
	b, err := os.ReadFile(k.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(k.data, ".index.snapshot4711")
	if err := os.WriteFile(half, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	c = k.restarted(t, k.token("s"))
	if _, err := os.Stat(half); err == nil || !c.said("index snapshot read") {
		t.Errorf("%v\n%s", err, c.log)
	}
}

// TestSnapshotSpeed measures a restart with many revocations, with the snapshot
// and without.
func TestSnapshotSpeed(t *testing.T) {
	many := 2_000
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_SNAPSHOT_ENTRIES")); err == nil {
		many = n
	}
	k := keep(t, basicConfig)
	c := startReady(t, k.config)
	for from := 0; from < many; from += 1000 {
		var list []map[string]string
		for i := range 1000 {
			list = append(list, map[string]string{"kind": "session", "value": fmt.Sprint("s", from+i), "issuer": idp})
		}
		body, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := c.http("POST", "/v1/revocations", string(body)); status != http.StatusCreated {
			t.Fatalf("%d %s", status, answer)
		}
	}
	c.terminate()
	info, err := os.Stat(k.snapshot)
	if err != nil {
		t.Fatal(err)
	}
	last := k.token(fmt.Sprint("s", many-1))
	for _, how := range []string{"with", "without"} {
		if how == "without" {
			if err := os.Remove(k.snapshot); err != nil {
				t.Fatal(err)
			}
		}
		c = k.restarted(t, k.token("s0"), last)
		until(t, "the line that says so", func() bool { return c.said("msg=serving") })
		took := regexp.MustCompile(`msg=serving .*took=(\S+)`).FindStringSubmatch(c.log.String())
		if took == nil || c.said("index snapshot read") != (how == "with") {
			t.Fatal(c.log)
		}
		t.Logf("%d revocations, %s snapshot of %d KiB: ready after %s", many, how, info.Size()>>10, took[1])
		c.kill()
	}
}
