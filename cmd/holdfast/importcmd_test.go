package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

func (a *adminServer) sessions() int64 { return a.config.Index.Count(cache.Session) }

func sessionLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"kind\":\"session\",\"value\":\"s%d\",\"issuer\":%q}\n", i, idp)
	}
	return b.String()
}

// TestImport: a hundred thousand lines, of which the feed fails to store some
// in between. Running it again stores the rest and nothing twice, and a third
// time nothing.
func TestImport(t *testing.T) {
	t.Parallel() // most of it is waiting for another attempt
	const lines = 100_000
	a := startAdmin(t, "tcp")
	file := configFile(t, "sessions.jsonl", sessionLines(lines))
	appended := 0
	a.log.Fail(func(op feed.Op, _ uint64) error {
		if op != feed.OpAppend {
			return nil
		}
		if appended++; appended > 5 {
			return errors.New("no space left on device")
		}
		return nil
	})
	code, stdout, stderr := holdfast(t, "revocations", "import", file, "--server", a.url)
	stored := a.sessions()
	if code != 1 || stdout != "" || stored == 0 || stored >= lines || stored%importBatch != 0 ||
		!strings.Contains(stderr, fmt.Sprintf("%d revocations are stored, of the lines before %d", stored, stored+1)) ||
		!strings.Contains(stderr, "trying again in") || !strings.Contains(stderr, "503 not_durable") {
		t.Fatalf("exit %d, %d stored\n%s%s", code, stored, stdout, stderr)
	}
	a.log.Fail(nil)
	code, stdout, stderr = holdfast(t, "revocations", "import", file, "--server", a.url)
	want := fmt.Sprintf("stored %d revocations; %d more were stored by an earlier run (10 batches", lines-stored, stored)
	if code != 0 || !strings.HasPrefix(stdout, want) || a.sessions() != lines {
		t.Fatalf("exit %d, %d in force\n%s%s", code, a.sessions(), stdout, stderr)
	}
	for _, i := range []int{0, 9_999, 10_000, 54_321, lines - 1} {
		if refs := a.config.Index.Refs(cache.KeyOf(cache.Session, idp, fmt.Sprint("s", i))); len(refs) != 1 {
			t.Errorf("s%d: %v", i, refs)
		}
	}
	// What was lifted meanwhile stays lifted, and that is said. The beginning of
	// the file is the same file so far.
	refs := a.config.Index.Refs(cache.KeyOf(cache.Session, idp, "s12345"))
	if code, _, stderr := holdfast(t, "unrevoke", refs[0].String(), "--server", a.url); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, stderr = holdfastWith(t, sessionLines(2*importBatch), "revocations", "import", "-", "-o", "json", "--server", a.url)
	if code != 1 || !strings.Contains(stdout, `"stored": 0`) || !strings.Contains(stdout, `"repeated": 20000`) || a.sessions() != lines-1 ||
		!strings.Contains(stderr, "1 of the revocations were stored by an earlier run and have been lifted") {
		t.Errorf("exit %d, %d in force\n%s%s", code, a.sessions(), stdout, stderr)
	}
}

// TestImportKilled: the server is killed in the middle of an import and started
// again. All lines are in force, each once.
func TestImportKilled(t *testing.T) {
	const lines = 30_000
	socket := filepath.Join(t.TempDir(), "admin.sock")
	config := writeConfig(t, extauthztest.NewIssuer(t, idp), strings.Replace(basicConfig, `admin: {address: "127.0.0.1:0"}`, `admin: {address: "unix://`+socket+`"}`, 1))
	server := startChild(t, config)
	inForce := func() (state serverState) {
		_, stdout, _ := holdfast(t, "status", "-o", "json", "--server", "unix://"+socket)
		_ = json.Unmarshal([]byte(stdout), &state)
		return state
	}
	until(t, "readiness", func() bool { return inForce().Ready })
	file := configFile(t, "sessions.jsonl", sessionLines(lines))
	done := make(chan int, 1)
	run := func() {
		code, _, _ := holdfast(t, "revocations", "import", file, "--server", "unix://"+socket)
		done <- code
	}
	go run()
	until(t, "the first batch", func() bool { return inForce().Revocations["session"] > 0 })
	server.kill()
	server = startChild(t, config)
	code := <-done
	until(t, "readiness", func() bool { return inForce().Ready })
	if code != 0 {
		run()
		code = <-done
	}
	// A session that is revoked twice counts twice.
	if n := inForce().Revocations["session"]; code != 0 || n != lines {
		t.Errorf("exit %d, %d in force\n%s", code, n, server.log)
	}
}

// TestImportForms reads both forms of a file, and says what is wrong where.
func TestImportForms(t *testing.T) {
	object := `{"kind": "session", "value": "a<b>", "issuer": "https://idp.example"}`
	for name, tc := range map[string]struct {
		file   string
		code   int
		stored int64
		stderr string
	}{
		"objects":             {object + "\n\n" + strings.ReplaceAll(object, "a<b>", "c"), 0, 2, ""},
		"marked, CRLF":        {"\uFEFF\r\n" + object + "\r\n", 0, 1, ""},
		"rows":                {"session,a,https://idp.example\nsession,b,https://idp.example,12h\nsession,\"c,d\",https://idp.example,,left\n", 0, 3, ""},
		"rows with names":     {"kind,issuer,value,not_before\nsession,https://idp.example,a,2026-01-02T15:04:05Z\n", 0, 1, ""},
		"empty":               {"", 1, 0, "is empty"},
		"only white space":    {"\n\n", 1, 0, "is empty"},
		"names only":          {"kind,value\n", 0, 0, ""},
		"an unknown name":     {"kind,valeu\n", 1, 0, `line 1: "valeu" is not the name of a column`},
		"a name twice":        {"kind,value,kind\n", 1, 0, "line 1: "},
		"too many fields":     {"session,a,https://idp.example,,,,\n", 1, 0, "line 1: has 7 fields"},
		"an open quote":       {"session,a,https://idp.example\nsession,\"b\n", 1, 0, "line 2: "},
		"not an object":       {object + "\n[1]\n", 1, 0, "line 2: is not one JSON object"},
		"two on a line":       {object + object + "\n", 1, 0, "line 1: is not one JSON object"},
		"not UTF-8":           {object + "\n{\"kind\":\"\xff\"}", 1, 0, "line 2: is not one JSON object"},
		"a line without end":  {object + "\n{\"kind\":\"" + strings.Repeat("x", maxLine), 1, 0, "line 2: is over"},
		"the server says no":  {object + "\n\n{\"kind\":\"sesion\",\"value\":\"x\"}\n", 1, 0, "line 3: kind is not one of"},
		"an unknown member":   {object + "\n{\"kind\":\"session\",\"value\":\"x\",\"issuer\":\"https://idp.example\",\"vlaue\":1}\n", 1, 0, "line 2: vlaue is no member"},
		"a ttl too short":     {"session,a,https://idp.example,1m\n", 1, 0, "line 1: ttl is shorter"},
		"no issuer in a row":  {"session,a\nissuer,https://idp.example\n", 1, 0, "line 1: issuer is missing"},
		"a row of the issuer": {"issuer,https://idp.example\n", 0, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAdmin(t, "tcp")
			code, stdout, stderr := holdfastWith(t, tc.file, "revocations", "import", "-", "--server", a.url)
			var inForce int64
			for _, kind := range cache.AllKinds() {
				inForce += a.config.Index.Count(kind)
			}
			if code != tc.code || inForce != tc.stored || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("exit %d, %d stored\n%s%s", code, inForce, stdout, stderr)
			}
			if tc.code == 0 && !strings.HasPrefix(stdout, fmt.Sprintf("stored %d revocations", tc.stored)) {
				t.Errorf("said %q", stdout)
			}
		})
	}
}

// TestImportBatches: a batch ends where the server would refuse it, and its key
// says which it is.
func TestImportBatches(t *testing.T) {
	long := strings.Repeat("<", 900) // six bytes each, when sent
	batches := func(text string) (all []*batch) {
		lines, err := readLines(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for {
			b, err := lines.batch()
			if err != nil {
				return all
			}
			all = append(all, b)
		}
	}
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "session,%s%d,%s\n", long, i, idp)
	}
	got, items, keys := batches(text.String()), 0, make(map[string]bool)
	for _, b := range got {
		items += len(b.numbers)
		keys[b.key] = true
		if len(b.body) > 4<<20 || len(b.key) > 255 {
			t.Errorf("%d bytes, key %q", len(b.body), b.key)
		}
	}
	if items != 3000 || len(keys) != len(got) || len(got) < 5 {
		t.Errorf("%d items in %d batches with %d keys", items, len(got), len(keys))
	}
	// The same file has the same keys, one that goes on those of what is the same.
	small := sessionLines(25_000)
	one, again, longer, other := batches(small), batches(small), batches(small+sessionLines(10)), batches("\n"+strings.Replace(small, "s0", "s!", 1))
	for i := range one {
		if one[i].key != again[i].key || (one[i].key == longer[i].key) != (i < 2) || one[i].key == other[i].key {
			t.Errorf("batch %d", i)
		}
	}
}

// TestClientRepeatAfterLift: whoever repeats a revocation that was lifted since
// is not told that it stands.
func TestClientRepeatAfterLift(t *testing.T) {
	a := startAdmin(t, "tcp")
	args := []string{"revoke", "session", "s", "--issuer", idp, "--idempotency-key", "k", "--server", a.url}
	_, id, _ := holdfast(t, args...)
	if code, again, stderr := holdfast(t, args...); code != 0 || again != id {
		t.Errorf("again: exit %d %s%s", code, again, stderr)
	}
	if code, _, stderr := holdfast(t, "unrevoke", strings.TrimSpace(id), "--wait", "1s", "--server", a.url); code != 0 {
		t.Fatal(stderr)
	}
	code, again, stderr := holdfast(t, args...)
	if code != 1 || again != id || !strings.Contains(stderr, "it is not in force") || !strings.Contains(stderr, time.Now().UTC().Format("2006-01-02")) {
		t.Errorf("after the lift: exit %d %s%s", code, again, stderr)
	}
}
