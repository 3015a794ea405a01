package envoy_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/envoy"
	"github.com/holdfast-authz/holdfast/examples/demo"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// The whole thing, with nothing played:
//
//	test ──HTTP/1.1 as written, h2c──> Envoy ──gRPC, Unix socket──> holdfast serve ── feed on disk
//	                                     └──HTTP──> upstream that echoes what arrives
//
// An Envoy runs in one of the modes below, made of what Render gives: edge is
// that itself, without TLS; the others take hardening away, to see that
// Holdfast does not depend on it.

// TestMain removes the binary that holdfastBinary has built.
func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

var buildDir string

// holdfastBinary is the program under test, built once.
var holdfastBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		return "", err
	}
	buildDir = dir
	binary := filepath.Join(dir, "holdfast")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/holdfast").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// TestDemo plays the story of the contract, §9, as make demo does.
func TestDemo(t *testing.T) {
	binary, err := holdfastBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Run(t.Context(), demo.Options{Holdfast: binary, Once: true, Out: t.Output()}); err != nil {
		t.Fatal(err)
	}
}

const (
	issuerName = "https://idp.example"
	patience   = 20 * time.Second // for what takes milliseconds, on a busy machine
)

// site is a Holdfast with its issuer and its upstream.
type site struct {
	dir      string
	config   string
	issuer   *extauthztest.Issuer
	upstream string
	holdfast *demo.Holdfast
}

const siteConfig = `version: 1
listen:
  check: {address: "unix://%[1]s/check.sock"}
  admin: {address: 127.0.0.1:0}
issuers:
  - issuer: https://idp.example
    audiences: [https://api.example]
    jwks_file: %[1]s/jwks.json
  - issuer: http://127.0.0.1:1
    audiences: [https://api.example]
    jwks_uri: http://127.0.0.1:1/jwks
classes:
  - {name: people, max_lifetime: 1h}
routes:
  - name: admin
    match: [{paths: [/admin, /admin/*]}, {hosts: [admin.example]}]
    require: {scopes: [admin]}
  - name: transfer
    match: [{paths: [/transfer/*], methods: [POST]}]
    require: {max_auth_age: 5m, acr: [aal2]}
  - name: named
    require: {scopes: [named]}
  - name: vault
    match: [{paths: [/vault]}]
    require: {on_feed_stale: deny}
  - name: public
    match: [{paths: [/public/*]}]
    anonymous: true
feed:
  embedded: {directory: %[1]s/feed}
decision_log: {sample_allow: 1}
`

// newSite starts a Holdfast that is ready, except that the keys of its second
// issuer can not be had.
func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{dir: dir, config: filepath.Join(dir, "holdfast.yaml"), issuer: extauthztest.NewIssuer(t, issuerName)}
	write(t, filepath.Join(dir, "jwks.json"), s.issuer.JWKS())
	write(t, s.config, fmt.Appendf(nil, siteConfig, dir))
	app := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(app.Close)
	s.upstream = app.Listener.Addr().String()
	s.start(t)
	return s
}

// start runs Holdfast, again after it was killed.
func (s *site) start(t *testing.T) {
	t.Helper()
	binary, err := holdfastBinary()
	if err != nil {
		t.Fatal(err)
	}
	s.holdfast, err = demo.StartHoldfast(context.Background(), binary, s.config, filepath.Join(s.dir, "holdfast.log"))
	if err != nil {
		t.Fatal(err)
	}
	h := s.holdfast
	t.Cleanup(func() {
		h.Kill()
		if t.Failed() {
			t.Logf("end of holdfast's log:\n%s", h.Tail())
		}
	})
}

// ready waits until requests are decided.
func (s *site) ready(t *testing.T, e *edge) {
	t.Helper()
	eventually(t, func() error {
		if r := e.get(t, "/orders", s.issuer.Token(time.Now())); r.status != http.StatusOK {
			return fmt.Errorf("got %d %s", r.status, r.line.Reason)
		}
		return nil
	})
}

// edge is an Envoy before a site.
type edge struct {
	*envoy.Process
	access string // its access log
}

type mode string

const (
	hardened mode = "edge"  // as shipped
	plain    mode = "plain" // paths as they come, underscores pass, no headers removed
	mapped   mode = "map"   // plain, and headers joined as encode_raw_headers: false does
	unasked  mode = "no health check"
	failOpen mode = "fail open" // no health check, and failure_mode_allow: true, which nobody should run
)

var healthChecks = regexp.MustCompile(`(?m)^    health_checks:\n    - .*\n`)

// weaken takes the hardening out of a rendered configuration.
func weaken(t *testing.T, config []byte, m mode) []byte {
	t.Helper()
	replace := func(from, to string) {
		if bytes.Count(config, []byte(from)) != 1 {
			t.Fatalf("the configuration has %q not once", from)
		}
		config = bytes.Replace(config, []byte(from), []byte(to), 1)
	}
	if m == plain || m == mapped {
		replace("normalize_path: true", "normalize_path: false")
		replace("merge_slashes: true", "merge_slashes: false")
		replace("path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED")
		replace("headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW")
		replace(`- remove_on_match: {key_matcher: {safe_regex: {regex: "x[-_]holdfast[-_].*"}}}`, "- remove: x-nothing")
	}
	if m == mapped {
		replace("encode_raw_headers: true", "encode_raw_headers: false")
	}
	if m == unasked || m == failOpen {
		if !healthChecks.Match(config) {
			t.Fatal("the configuration has no health checks")
		}
		config = healthChecks.ReplaceAll(config, nil)
	}
	if m == failOpen {
		replace("failure_mode_allow: false", "failure_mode_allow: true")
	}
	return config
}

// startEnvoy runs an Envoy in front of the site.
func (s *site) startEnvoy(t *testing.T, m mode, routes ...envoy.Route) *edge {
	t.Helper()
	binary, err := envoy.Find(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := &edge{access: filepath.Join(dir, "access.log")}
	config, err := envoy.Render(envoy.Edge{
		Listen: "127.0.0.1:0", Upstream: s.upstream, Check: "unix://" + s.dir + "/check.sock",
		Timeout: 2 * time.Second, AccessLog: e.access, Routes: routes,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Process, err = envoy.Start(context.Background(), envoy.Options{Binary: binary, Config: weaken(t, config, m), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Stop()
		if t.Failed() {
			t.Logf("end of Envoy's log:\n%s", e.Tail())
		}
	})
	s.ready(t, e)
	return e
}
