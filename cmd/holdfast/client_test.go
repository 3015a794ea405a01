package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cache/jwks"
	"github.com/holdfast-authz/holdfast/cmd/internal/admin"
)

// adminServer is the real admin API over a real feed, in this process.
type adminServer struct {
	url    string
	config admin.Config
	log    *feed.Memory
}

func startAdmin(t *testing.T, network string, change ...func(*admin.Config)) *adminServer {
	t.Helper()
	a := &adminServer{log: &feed.Memory{}}
	index, sync := cache.NewIndex(), &cache.Sync{}
	var server *admin.Server
	f, err := feed.New(feed.Config{
		Log: a.log, Key: []byte("0123456789abcdef0123456789abcdef"), MaxAge: time.Minute, Sync: sync,
		Apply: func(number uint64, at time.Time, events []cache.Event) {
			index.Apply(number, at, events)
			server.Applied(number, at, events)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.config = admin.Config{
		Address: "127.0.0.1:0", Version: "v1", Index: index, Enforced: cache.NewEvidence().Get, Sync: sync,
		MaxAge: time.Minute, Retention: 720 * time.Hour, Issuers: []admin.Issuer{{Name: idp, MaxLife: time.Hour, ClockSkew: 30 * time.Second}},
		Append: f.AppendUnless, Confirm: f.Confirm, Events: f.Events, Feed: f.Status,
		Keys: func() []jwks.Status {
			return []jwks.Status{{Issuer: idp, From: "jwks.json", Usable: true, LastSuccess: time.Unix(1_700_000_000, 0), Keys: []jwks.KeyInfo{{ID: "k\x1b[2J", Alg: "ES256"}}}}
		},
		RefreshKeys: func(context.Context, string) error { return nil },
	}
	for _, c := range change {
		c(&a.config)
	}
	if server, err = admin.New(a.config); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "admin.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + l.Addr().String()
	if network == "unix" {
		a.url = "unix://" + address
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- f.Run(ctx) }()
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	until(t, "the feed", func() bool { return sync.Health(time.Now(), time.Minute) == cache.Fresh })
	return a
}

// TestClientVerbs plays what an operator does, in order, on one server.
func TestClientVerbs(t *testing.T) {
	a := startAdmin(t, "tcp")
	var id string
	for _, step := range []struct {
		args   string // ID stands for the first revocation's id
		code   int
		stdout string // contained in it
		stderr string
	}{
		{"status", 0, "ready", ""},
		{"feed status", 0, "fresh", ""},
		{"keys list", 0, `k\x1b[2J`, ""}, // a kid that moves the cursor is escaped
		{"keys refresh", 0, idp + "  refreshed", ""},
		{"keys refresh --issuer x", 1, "", "not the name of a configured issuer"},
		{"revocations list", 0, "ID  KIND", ""},

		{"revoke session s1 --issuer " + idp + " --reason lost", 0, "r", ""},
		{"revoke subject alice --issuer " + idp + " --wait 2s", 0, " enforced by 1 of 1 replicas after ", ""},
		{"revoke issuer " + idp + " --not-before 2026-01-01T00:00:00Z", 0, "r", ""},
		{"revoke session s2 --issuer " + idp + " --idempotency-key k", 0, "r", ""},
		{"revoke session s2 --issuer " + idp + " --idempotency-key k", 0, "r", ""},
		{"revoke session s3 --issuer " + idp + " --idempotency-key k", 1, "", "(409 idempotency_key_reused)"},
		{"revoke session * --issuer " + idp, 1, "", "wildcard"},
		{"revoke session s4", 2, "", "add --issuer"},
		{"revoke user s4 --issuer " + idp, 2, "", "unknown kind \"user\"; one of [token session"},
		{"revoke session s4 --issuer " + idp + " --ttl 1m", 1, "", "insist with --force"},
		{"revoke session s4 --issuer " + idp + " --ttl 1m --force", 0, "r", ""},
		{"revoke session s5 --issuer " + idp + " --not-before yesterday", 2, "", "--not-before \"yesterday\" is not a time"},

		{"revocations list", 0, "lost", ""},
		{"revocations list --kind subject", 0, "alice", ""},
		{"revocations list --kind user", 1, "", "kind is not one of"},
		{"revocations list --value s1 --issuer " + idp, 0, "ID", ""},
		{"revocations list --limit 2", 0, "s1", "there are more"},
		{"revocations list --limit 2 --cursor ID", 0, "alice", ""},
		{"revocations get ID", 0, "nothing denied yet", ""},
		{"revocations export", 0, `"value": "alice"`, ""},
		{"revocations export -o yaml", 0, "value: alice", ""},
		{"unrevoke ID", 0, "lifted ID", ""},
		{"unrevoke ID --wait 1s", 0, "lifted ID", ""},
		{"revocations get ID", 0, "lifted 2", ""},
		{"unrevoke r999-0", 1, "", "no revocation with this id"},
		{"unrevoke ../../v1/keys:refresh", 2, "", "not the id of a revocation"},
		{"revocations get x/y", 2, "", "not the id of a revocation"},

		{"status", 0, "revocations  4", ""},
		{"status -o json", 0, `"ready": true`, ""},
		{"feed status -o yaml", 0, "state: fresh", ""},
		{"keys list -o json", 0, `"kid": "k\u001b[2J"`, ""},

		{"revoke session", 2, "", "accepts 2 arg"},
		{"revoke session s --wait soon", 2, "", "--help"},
		{"revoke session s --issuer i --wait -1s", 2, "", "below 0"},
		{"status -o xml", 2, "", "not table, json or yaml"},
		{"revocations list --limit -1", 2, "", "below 0"},
		{"revocations", 2, "", "list, get, import or export"},
		{"feed", 2, "", "status"},
		{"keys", 2, "", "list or refresh"},
	} {
		t.Run(step.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(step.args, "ID", id))
			code, stdout, stderr := holdfast(t, append(args, "--server", a.url)...)
			if code != step.code || !strings.Contains(stdout, strings.ReplaceAll(step.stdout, "ID", id)) && step.stdout != "ID" || !strings.Contains(stderr, step.stderr) {
				t.Fatalf("exit %d, want %d\nstdout: %s\nstderr: %s", code, step.code, stdout, stderr)
			}
			if id == "" && args[0] == "revoke" {
				id = strings.TrimSpace(stdout)
			}
			if strings.ContainsRune(stdout+stderr, '\x1b') {
				t.Errorf("the terminal gets an escape: %q %q", stdout, stderr)
			}
		})
	}
}

// TestClientFormats: -o json is what the API says, -o yaml says the same.
func TestClientFormats(t *testing.T) {
	a := startAdmin(t, "tcp")
	code, text, stderr := holdfast(t, "revoke", "session", "Ä: [x]", "--issuer", idp, "--reason", "multi\nline # no: comment", "-o", "json", "--server", a.url, "--wait", "1s")
	var fromJSON, fromYAML map[string]any
	if err := json.Unmarshal([]byte(text), &fromJSON); code != 0 || err != nil || fromJSON["value"] != "Ä: [x]" || fromJSON["applied"] != 1.0 {
		t.Fatalf("exit %d %v\n%s%s", code, err, text, stderr)
	}
	_, text, _ = holdfast(t, "revocations", "get", fmt.Sprint(fromJSON["id"]), "-o", "yaml", "--server", a.url)
	if err := yaml.Load([]byte(text), &fromYAML); err != nil || fromYAML["reason"] != "multi\nline # no: comment" || fromYAML["value"] != "Ä: [x]" {
		t.Errorf("%v\n%s", err, text)
	}
	if !strings.HasPrefix(text, "id: ") {
		t.Errorf("the members do not keep their order:\n%s", text)
	}
}

// TestClientYAML: a text that looks like something else stays a text.
func TestClientYAML(t *testing.T) {
	for _, text := range []string{
		"1", "1e3", "0x1f", "true", "no", "Null", "~", "", " x ", "- x", "a: b", "# x", "2026-01-02T03:04:05Z", "2026-01-02", "&a", "*a", "!x", "|", "%x",
		"@x", "`x", "'x'", `"x"`, "x\n\ty", "\u0000", "\u001b[2J", "\u2028", "\ufeff", "😀", "<<", "=", "{x}", "[x]", "12:30:45", ".inf", "\u0085", "\u202ex", "\x7f", "\u009b2J",
	} {
		in, err := json.Marshal(map[string]any{"text": text, "n": 12345678901})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		var back map[string]any
		if err := printYAML(&out, in); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := yaml.Load([]byte(out.String()), &back); err != nil || back["text"] != text || fmt.Sprint(back["n"]) != "12345678901" {
			t.Errorf("%q came back as %#v, %v\n%s", text, back["text"], err, out.String())
		}
		if strings.ContainsAny(out.String(), "\x1b\x00\x7f\u202e\u009b") {
			t.Errorf("%q is written raw: %q", text, out.String())
		}
	}
}

// TestClientPages lists more than one page holds.
func TestClientPages(t *testing.T) {
	a := startAdmin(t, "tcp")
	var items []string
	for i := range 2300 {
		items = append(items, fmt.Sprintf(`{"kind":"session","value":"s%d","issuer":"%s"}`, i, idp))
	}
	resp, err := http.Post(a.url+"/v1/revocations", "application/json", strings.NewReader("["+strings.Join(items, ",")+"]"))
	if err != nil || resp.StatusCode != 201 {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
	for args, want := range map[string]int{"export": 2300, "list --limit 0 -o json": 2300, "list --limit 1500 -o json": 1500, "list -o json": 100} {
		_, text, stderr := holdfast(t, append(append([]string{"revocations"}, strings.Fields(args)...), "--server", a.url)...)
		var got struct {
			Items []map[string]any
			Next  string
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Items) != want || (got.Next != "") != (want < 2300) {
			t.Errorf("%s: %d items, next %q, %v %s", args, len(got.Items), got.Next, err, stderr)
		}
	}
}

// TestClientDegraded: what is not well ends with 1, and is shown.
func TestClientDegraded(t *testing.T) {
	a := startAdmin(t, "tcp", func(c *admin.Config) {
		c.Keys = func() []jwks.Status {
			return []jwks.Status{{Issuer: idp, LastError: "connection refused", Failing: true}}
		}
		c.RefreshKeys = func(context.Context, string) error { return errors.New("connection refused") }
	})
	a.config.Sync.Break("record 7 is missing")
	for args, want := range map[string]string{
		"status": "NOT READY", "feed status": "record 7 is missing", "keys list": "connection refused", "keys refresh": "connection refused", "status -o json": "record 7",
	} {
		code, stdout, stderr := holdfast(t, append(strings.Fields(args), "--server", a.url)...)
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestClientNotDurable tells that nothing was done, and what to look at.
func TestClientNotDurable(t *testing.T) {
	a := startAdmin(t, "tcp")
	a.log.Fail(func(op feed.Op, _ uint64) error {
		if op == feed.OpAppend {
			return errors.New("no space left on device")
		}
		return nil
	})
	code, stdout, stderr := holdfast(t, "revoke", "session", "s", "--issuer", idp, "--server", a.url)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "503 not_durable") || !strings.Contains(stderr, "feed status") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestClientWaitRunsOut: stored, but not everywhere in time, is exit 6.
func TestClientWaitRunsOut(t *testing.T) {
	a := startAdmin(t, "tcp", func(c *admin.Config) {
		c.Reached = func(ctx context.Context, number uint64) ([]feed.Replica, error) {
			<-ctx.Done()
			return []feed.Replica{{Host: "a", Applied: number}, {Host: "b", ID: "12"}, {Host: "c\x1b", ID: "34"}}, nil
		}
	})
	code, stdout, stderr := holdfast(t, "revoke", "session", "s", "--issuer", idp, "--wait", "20ms", "--server", a.url)
	if code != 6 || !strings.Contains(stdout, "1 of 3") || !strings.Contains(stderr, "2 of 3 replicas have not applied it within 20ms: b/12, c\\x1b/34\n") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestClientToken: the token comes from a file, and goes nowhere it could be
// read (security.md AD14).
func TestClientToken(t *testing.T) {
	a := startAdmin(t, "tcp", func(c *admin.Config) { c.Token = []byte("s3cret") })
	file := func(content string) string { return configFile(t, "token", content) }
	for name, tc := range map[string]struct {
		server, token string
		code          int
		stderr        string
	}{
		"right":                {a.url, file("s3cret\n"), 0, ""},
		"none":                 {a.url, "", 1, "--token-file FILE"},
		"wrong":                {a.url, file("other"), 1, "is not the server's"},
		"empty file":           {a.url, file("\n"), 1, "does not hold one token"},
		"two lines":            {a.url, file("a\nb\n"), 1, "does not hold one token"},
		"no file":              {a.url, filepath.Join(t.TempDir(), "none"), 1, "read the token"},
		"over plain http":      {"http://192.0.2.1:9292", file("s3cret"), 2, "unencrypted"},
		"to a name":            {"http://edge.example:9292", file("s3cret"), 2, "unencrypted"},
		"to a name like ours":  {"http://localhost.edge.example:9292", file("s3cret"), 2, "unencrypted"},
		"to all addresses":     {"http://0.0.0.0:9292", file("s3cret"), 2, "unencrypted"},
		"with user and secret": {"http://u:p@127.0.0.1:9292", "", 2, "--server is not an address"},
		"with a path":          {a.url + "/v1", "", 2, "--server is not an address"},
		"no scheme":            {"127.0.0.1:9292", "", 2, "--server is not an address"},
		"another scheme":       {"ftp://127.0.0.1", "", 2, "--server is not an address"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"status", "--server", tc.server}
			if tc.token != "" {
				args = append(args, "--token-file", tc.token)
			}
			code, stdout, stderr := holdfast(t, args...)
			if code != tc.code || !strings.Contains(stderr, tc.stderr) || strings.Contains(stdout+stderr, "s3cret") {
				t.Errorf("exit %d, want %d\n%s%s", code, tc.code, stdout, stderr)
			}
		})
	}
}

// TestClientUnix talks to a socket file, token and all.
func TestClientUnix(t *testing.T) {
	a := startAdmin(t, "unix", func(c *admin.Config) { c.Address, c.Token = "unix:///x", []byte("s3cret") })
	token := configFile(t, "token", "s3cret")
	code, stdout, stderr := holdfast(t, "revoke", "session", "s", "--issuer", idp, "--server", a.url, "--token-file", token)
	if code != 0 || !strings.HasPrefix(stdout, "r") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestClientStrangers: no server, another server, one that sends us on.
func TestClientStrangers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	_ = l.Close()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<html>\x1b[2J")
	}))
	defer web.Close()
	asked := false
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer target.Close()
	sender := httptest.NewServer(http.RedirectHandler(target.URL+"/v1/status", http.StatusTemporaryRedirect))
	defer sender.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler()) // whose certificate nobody knows
	defer secure.Close()
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"detail":"\u001b[2J\u202e","code":"\n","errors":[{"pointer":"\r"},{"pointer":"\u0007"}]}`)
	}))
	defer evil.Close()
	for name, tc := range map[string]struct{ server, stderr string }{
		"nobody":      {nobody, "holdfast serve -c FILE"},
		"a web page":  {web.URL, "read the server's answer"},
		"a redirect":  {sender.URL, "not as the admin API does"},
		"certificate": {secure.URL, "certificate"},
		"escapes":     {evil.URL, `\x1b[2J\u202e`},
		"no socket":   {"unix:///nowhere/at.all", "no answer from"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := holdfast(t, "status", "--server", tc.server)
			if code != 1 || !strings.Contains(stderr, tc.stderr) || strings.ContainsAny(stdout+stderr, "\x1b\r\a") {
				t.Errorf("exit %d\n%q\n%q", code, stdout, stderr)
			}
		})
	}
	if asked {
		t.Error("a redirect was followed")
	}
	// A list's filter may name somebody: it is not repeated.
	if _, _, stderr := holdfast(t, "revocations", "list", "--value", "alice", "--server", nobody); strings.Contains(stderr, url.QueryEscape("alice")) {
		t.Errorf("stderr: %s", stderr)
	}
}

// TestStatusWatch looks until it is interrupted.
func TestStatusWatch(t *testing.T) {
	a := startAdmin(t, "tcp")
	out := &lockedBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	root := newRootCommand()
	root.SetArgs([]string{"status", "--watch", "--server", a.url})
	root.SetOut(out)
	root.SetErr(out)
	done := make(chan int, 1)
	go func() { done <- run(ctx, root) }()
	until(t, "the first look", func() bool { return strings.Contains(out.String(), "ready") })
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}

// TestClientHelp: every client verb has an example and says what its exit codes are.
func TestClientHelp(t *testing.T) {
	for _, verb := range []string{"revoke", "unrevoke", "revocations list", "revocations get", "revocations export", "status", "feed status", "keys list", "keys refresh"} {
		code, stdout, _ := holdfast(t, append(strings.Fields(verb), "--help")...)
		if code != 0 || !strings.Contains(stdout, "Examples:") || !strings.Contains(stdout, "--token-file") || !strings.Contains(stdout, "  holdfast "+verb) {
			t.Errorf("%s --help:\n%s", verb, stdout)
		}
	}
}
