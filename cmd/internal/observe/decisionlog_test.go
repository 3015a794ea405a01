package observe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logInto runs a log into a file. end ends it and gives what it wrote.
func logInto(t *testing.T, c DecisionLogConfig) (l *DecisionLog, end func() []map[string]any) {
	t.Helper()
	if c.File == "" {
		c.File = filepath.Join(t.TempDir(), "decisions.json")
	}
	l, err := NewDecisionLog(c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(context.Background()) }()
	return l, func() []map[string]any {
		t.Helper()
		l.Close()
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return records(t, c.File)
	}
}

// records reads a log and holds it to one printable ASCII line a record.
func records(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, c := range lines.Bytes() {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in %q", c, lines.Text())
			}
		}
		var one map[string]any
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		all = append(all, one)
	}
	return all
}

func denied() *extauthz.Decision {
	return &extauthz.Decision{
		Reason: reason.SessionRevoked, Verdict: reason.Deny, Enforced: true, ID: "d1", Class: "browser", Route: "payments",
		Session: token.Session{Issuer: "https://idp.example", Sub: "alice", SID: "s1", JTI: "j1"},
		Revoked: cache.Hit{Kind: cache.Session, Ref: cache.Ref{Number: 12}}, Detail: "of the session",
	}
}

var request = &extauthz.Request{
	Method: "POST", Host: "pay.example", Path: "/transfer/1?access_token=SECRET&x=1", Peer: "192.0.2.7",
	Headers: []extauthz.Header{
		{Name: "authorization", Value: "Bearer SECRET"}, {Name: "cookie", Value: "__Host-session=SECRET"}, {Name: ":path", Value: "/transfer/1?access_token=SECRET"},
	},
}

// TestRecord has everything an operator needs, and no secret.
func TestRecord(t *testing.T) {
	l, end := logInto(t, DecisionLogConfig{})
	l.Record(request, denied(), 1500*time.Microsecond)
	got := end()
	if len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
	if _, err := time.Parse(time.RFC3339Nano, got[0]["time"].(string)); err != nil {
		t.Error(err)
	}
	seen := make(map[any]bool)
	for _, name := range []string{"subject", "session", "jti"} {
		v, _ := got[0][name].(string)
		if len(v) != 22 || seen[v] {
			t.Errorf("%s is %q", name, v)
		}
		seen[v] = true
		delete(got[0], name)
	}
	delete(got[0], "time")
	want := map[string]any{
		"decision_id": "d1", "decision": "deny", "reason": "session_revoked", "enforced": true, "class": "browser", "route": "payments",
		"method": "POST", "host": "pay.example", "path": "/transfer/1", "peer": "192.0.2.7", "issuer": "https://idp.example",
		"revocation": "r12-0", "detail": "of the session", "took_us": 1500.0,
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRecordHolds no secret, whatever a request looks like.
func TestRecordHolds(t *testing.T) {
	h := newHasher()
	line := string(appendRecord(nil, h, request, denied(), time.Now(), 0))
	for _, secret := range []string{"SECRET", "alice", `"s1"`, `"j1"`} {
		if strings.Contains(line, secret) {
			t.Errorf("%s is in %s", secret, line)
		}
	}
	field := func(line, name string) string {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(v[name])
	}
	again, other := denied(), denied()
	other.Session.Issuer = "https://other.example"
	if field(line, "subject") != field(string(appendRecord(nil, h, request, again, time.Now(), 0)), "subject") {
		t.Error("one subject has two digests")
	}
	if field(line, "subject") == field(string(appendRecord(nil, h, request, other, time.Now(), 0)), "subject") {
		t.Error("two issuers' subjects have one digest")
	}
	if field(line, "subject") == field(string(appendRecord(nil, newHasher(), request, again, time.Now(), 0)), "subject") {
		t.Error("the digest has no key")
	}
	nobody := string(appendRecord(nil, h, request, &extauthz.Decision{Reason: reason.CredentialMissing}, time.Now(), 0))
	if field(nobody, "subject") != "" || field(nobody, "session") != "" {
		t.Errorf("an identity out of nothing: %s", nobody)
	}
}

// FuzzRecord: DS08. Whatever bytes come, it is one line of ASCII that reads as
// JSON, and the text comes back as far as it was text.
func FuzzRecord(f *testing.F) {
	for _, seed := range []string{"/plain", "/a\r\nb", "\x1b[2J", "\u202eevil", "\xff\xfe", `"},{"`, `\`, "😀", "\x7f", "\u2028", "?x", strings.Repeat("é", 400)} {
		f.Add(seed)
	}
	h := newHasher()
	f.Fuzz(func(t *testing.T, text string) {
		d := denied()
		d.Detail, d.ID, d.Session.Issuer, d.Class = text, text, text, text
		line := appendRecord(nil, h, &extauthz.Request{Path: text, Host: text, Method: text, Peer: text}, d, time.Now(), 0)
		if len(line) > 16<<10*3 || line[len(line)-1] != '\n' {
			t.Fatalf("%d bytes", len(line))
		}
		for _, c := range line[:len(line)-1] {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in %q", c, line)
			}
		}
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(text, "\ufffd"); len(text) <= maxField && text == want && got["host"] != want {
			t.Fatalf("%q came back as %q", text, got["host"])
		}
	})
}

// TestSampling: denials always, allowed ones by their share.
func TestSampling(t *testing.T) {
	allowed := &extauthz.Decision{Reason: reason.OK, Verdict: reason.Allow}
	unable := &extauthz.Decision{Reason: reason.FeedStale, Verdict: reason.Unable}
	for _, tc := range []struct {
		share    float64
		min, max int
	}{{0, 0, 0}, {1, 2000, 2000}, {0.5, 800, 1200}} {
		l, end := logInto(t, DecisionLogConfig{SampleAllow: tc.share, Queue: 10_000})
		for range 2000 {
			l.Record(request, allowed, 0)
		}
		l.Record(request, denied(), 0)
		l.Record(request, unable, 0)
		if got := len(end()) - 2; got < tc.min || got > tc.max {
			t.Errorf("share %v: %d of 2000", tc.share, got)
		}
	}
}

func TestDecisionLogConfig(t *testing.T) {
	for name, c := range map[string]DecisionLogConfig{
		"share below 0": {SampleAllow: -1}, "share above 1": {SampleAllow: 1.1}, "no number": {SampleAllow: math.NaN()},
		"unknown stream": {Stream: "syslog"}, "a folder": {File: t.TempDir()},
	} {
		if _, err := NewDecisionLog(c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, stream := range []string{"", "stdout", "stderr"} {
		l, err := NewDecisionLog(DecisionLogConfig{Stream: stream})
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if err := l.Run(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestDrop: a destination that takes nothing costs records, never a check's
// time, and does not hold up the end (F52).
func TestDrop(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewDecisionLog(DecisionLogConfig{Queue: 16})
	if err != nil {
		t.Fatal(err)
	}
	// A pipe that nobody reads, and that is full.
	for taken := 1; taken > 0; {
		if err := w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if taken, err = w.Write(make([]byte, 4<<20)); err == nil {
			t.Fatal("the pipe takes everything")
		}
	}
	if err := w.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	l.out = w
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- l.Run(ctx) }()
	const sent = 5000
	for range sent {
		l.Record(request, denied(), 0)
	}
	if n := l.Dropped(); n == 0 || n >= sent {
		t.Errorf("%d dropped", n)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a log that could not write its last records says nothing")
	}
	_ = r.Close() // lets the writer go: its write fails now
}

// TestFullDisk counts what is lost, says so once, and goes on.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Fatal("this test needs /dev/full, as Linux has it:", err)
	}
	var mu sync.Mutex
	var said bytes.Buffer
	l, err := NewDecisionLog(DecisionLogConfig{File: "/dev/full", Logger: slog.New(slog.NewTextHandler(&locked{&mu, &said}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(context.Background()) }()
	for range 10 {
		l.Record(request, denied(), 0)
	}
	l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := l.Dropped(); n != 10 {
		t.Errorf("%d of 10 dropped", n)
	}
	if n := strings.Count(said.String(), "decision records are being lost"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestReopen follows a file that is renamed away, as logrotate does it.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.json")
	l, end := logInto(t, DecisionLogConfig{File: path})
	write := func(id string) {
		d := denied()
		d.ID = id
		l.Record(request, d, 0)
	}
	has := func(path, id string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(path)
			return strings.Contains(string(text), `"`+id+`"`)
		}
	}
	write("before")
	eventually(t, "the first record", has(path, "before"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	l.Reopen()
	eventually(t, "the new file", func() bool { _, err := os.Stat(path); return err == nil })
	write("after")
	got := end()
	if len(got) != 1 || got[0]["decision_id"] != "after" {
		t.Errorf("new file: %v", got)
	}
	if old := records(t, path+".1"); len(old) != 1 || old[0]["decision_id"] != "before" {
		t.Errorf("old file: %v", old)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
}

// TestReopenFails keeps the old file.
func TestReopenFails(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "decisions.json")
	var mu sync.Mutex
	var said bytes.Buffer
	l, err := NewDecisionLog(DecisionLogConfig{File: path, Logger: slog.New(slog.NewTextHandler(&locked{&mu, &said}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(context.Background()) }()
	moved := folder + ".moved"
	if err := os.Rename(folder, moved); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	eventually(t, "it is said", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(said.String(), "keeps its old file")
	})
	l.Record(request, denied(), 0)
	l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := records(t, filepath.Join(moved, "decisions.json")); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

// TestManyWriters loses and mixes nothing.
func TestManyWriters(t *testing.T) {
	l, end := logInto(t, DecisionLogConfig{Queue: 10_000})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				d := denied()
				d.ID = fmt.Sprint(worker, "/", i)
				l.Record(request, d, 0)
			}
		})
	}
	wg.Wait()
	seen := make(map[any]bool)
	for _, one := range end() {
		seen[one["decision_id"]] = true
	}
	if len(seen) != 4000 || l.Dropped() != 0 {
		t.Errorf("%d records, %d dropped", len(seen), l.Dropped())
	}
}

// TestRecordCopies: the request's memory is used again at once.
func TestRecordCopies(t *testing.T) {
	l, end := logInto(t, DecisionLogConfig{})
	host := []byte("pay.example")
	alias := unsafe.String(&host[0], len(host)) // as the wire decoder makes them
	l.Record(&extauthz.Request{Host: alias, Path: "/"}, denied(), 0)
	copy(host, "XXXXXXXXXXX")
	if got := end(); got[0]["host"] != "pay.example" {
		t.Errorf("got %v", got)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := NewDecisionLog(DecisionLogConfig{File: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(context.Background()) }()
	b.ReportAllocs()
	d := denied()
	for b.Loop() {
		l.Record(request, d, time.Microsecond)
	}
	l.Close()
	<-done
}
