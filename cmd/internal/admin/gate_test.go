package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestGate asks what should never reach a handler, and what should.
func TestGate(t *testing.T) {
	w := start(t)
	here := "127.0.0.1:" + w.port
	for name, tc := range map[string]struct {
		ask    ask
		status int
	}{
		// Host: security.md AD02.
		"own address":            {ask{"GET", "/v1/status", "", map[string]string{"Host": here}}, 200},
		"localhost":              {ask{"GET", "/v1/status", "", map[string]string{"Host": "localhost:" + w.port}}, 200},
		"localhost in capitals":  {ask{"GET", "/v1/status", "", map[string]string{"Host": "LOCALHOST:" + w.port}}, 200},
		"IPv6 loopback":          {ask{"GET", "/v1/status", "", map[string]string{"Host": "[::1]:" + w.port}}, 200},
		"a rebound name":         {ask{"GET", "/v1/status", "", map[string]string{"Host": "evil.test"}}, 421},
		"with the port":          {ask{"GET", "/v1/status", "", map[string]string{"Host": "evil.test:" + w.port}}, 421},
		"at /livez too":          {ask{"GET", "/livez", "", map[string]string{"Host": "evil.test:" + w.port}}, 421},
		"another port":           {ask{"GET", "/v1/status", "", map[string]string{"Host": "127.0.0.1:1"}}, 421},
		"no port":                {ask{"GET", "/v1/status", "", map[string]string{"Host": "127.0.0.1"}}, 421},
		"another loopback":       {ask{"GET", "/v1/status", "", map[string]string{"Host": "127.0.0.2:" + w.port}}, 421},
		"a name that begins so":  {ask{"GET", "/v1/status", "", map[string]string{"Host": "127.0.0.1.evil.test:" + w.port}}, 421},
		"localhost and a dot":    {ask{"GET", "/v1/status", "", map[string]string{"Host": "localhost.:" + w.port}}, 421},
		"a number for 127.0.0.1": {ask{"GET", "/v1/status", "", map[string]string{"Host": "2130706433:" + w.port}}, 421},

		// Origin and Sec-Fetch-Site: AD01.
		"own origin":              {ask{"POST", "/v1/revocations", session("o1"), map[string]string{"Origin": "http://" + here}}, 201},
		"own origin by name":      {ask{"POST", "/v1/revocations", session("o2"), map[string]string{"Origin": "http://localhost:" + w.port}}, 201},
		"another origin":          {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Origin": "http://evil.test"}}, 403},
		"another port's":          {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Origin": "http://127.0.0.1:1"}}, 403},
		"another scheme's":        {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Origin": "https://" + here}}, 403},
		"origin null":             {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Origin": "null"}}, 403},
		"another origin reads":    {ask{"GET", "/v1/status", "", map[string]string{"Origin": "http://evil.test"}}, 403},
		"cross-site":              {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403},
		"cross-site read":         {ask{"GET", "/v1/status", "", map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403},
		"same-site, another port": {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Sec-Fetch-Site": "same-site"}}, 403},
		"same-site read":          {ask{"GET", "/v1/status", "", map[string]string{"Sec-Fetch-Site": "same-site"}}, 200},
		"same-origin":             {ask{"POST", "/v1/revocations", session("o3"), map[string]string{"Sec-Fetch-Site": "same-origin"}}, 201},
		"typed into the bar":      {ask{"GET", "/", "", map[string]string{"Sec-Fetch-Site": "none"}}, 200},
		"an unknown word":         {ask{"GET", "/v1/status", "", map[string]string{"Sec-Fetch-Site": "elsewhere"}}, 403},

		// Content type: AD01.
		"a form":              {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, 415},
		"plain text":          {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Type": "text/plain"}}, 415},
		"no type":             {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Type": ""}}, 415},
		"JSON in a name":      {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Type": "text/plain; x=application/json"}}, 415},
		"JSON and charset":    {ask{"POST", "/v1/revocations", session("o4"), map[string]string{"Content-Type": "application/json; charset=UTF-8"}}, 201},
		"JSON in UTF-16":      {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Type": "application/json; charset=utf-16"}}, 415},
		"compressed":          {ask{"POST", "/v1/revocations", session("x"), map[string]string{"Content-Encoding": "gzip"}}, 415},
		"refresh with a form": {ask{"POST", "/v1/keys:refresh", "issuer=x", map[string]string{"Content-Type": "text/plain"}}, 415},

		// Paths: AD04.
		"dot segment":    {ask{"GET", "/v1/./status", "", nil}, 400},
		"parent segment": {ask{"GET", "/v1/x/../status", "", nil}, 400},
		"empty segment":  {ask{"GET", "/v1//status", "", nil}, 400},
		"escaped slash":  {ask{"GET", "/v1%2fstatus", "", nil}, 400},
		"escaped letter": {ask{"GET", "/v1/%73tatus", "", nil}, 400},
		"escaped dots":   {ask{"GET", "/v1/%2e%2e/status", "", nil}, 400},
		"semicolon":      {ask{"GET", "/v1/status;x", "", nil}, 400},
		"trailing slash": {ask{"GET", "/v1/status/", "", nil}, 400},
		"id and slash":   {ask{"GET", "/v1/revocations/r1-0/", "", nil}, 400},
		"deeper":         {ask{"GET", "/v1/revocations/r1-0/x", "", nil}, 404},
		"other case":     {ask{"GET", "/V1/status", "", nil}, 404},
		"nothing there":  {ask{"GET", "/v1/nothing", "", nil}, 404},
		"profiles":       {ask{"GET", "/debug/pprof/", "", nil}, 400},
		"variables":      {ask{"GET", "/debug/vars", "", nil}, 404},

		// Methods.
		"HEAD":                {ask{"HEAD", "/v1/status", "", nil}, 200},
		"OPTIONS":             {ask{"OPTIONS", "/v1/revocations", "", nil}, 405},
		"PUT":                 {ask{"PUT", "/v1/revocations/r1-0", "", nil}, 405},
		"DELETE of all":       {ask{"DELETE", "/v1/revocations", "", nil}, 405},
		"GET of a refresh":    {ask{"GET", "/v1/keys:refresh", "", nil}, 405},
		"POST of the status":  {ask{"POST", "/v1/status", "{}", nil}, 405},
		"method in small":     {ask{"get", "/v1/status", "", nil}, 405},
		"method in a header":  {ask{"GET", "/v1/revocations/r1-0", "", map[string]string{"X-Http-Method-Override": "DELETE"}}, 404},
		"unknown parameter":   {ask{"GET", "/v1/status?verbose", "", nil}, 400},
		"a secret in the URL": {ask{"GET", "/v1/revocations?access_token=x", "", nil}, 400},
		"parameter twice":     {ask{"GET", "/v1/revocations?kind=token&kind=session", "", nil}, 400},
		"a broken query":      {ask{"GET", "/v1/revocations?kind=%zz", "", nil}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.do(t, tc.ask)
			if got.status != tc.status {
				t.Fatalf("got %d %s, want %d", got.status, got.body, tc.status)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", got.header)
			}
			if tc.status >= 400 && tc.ask.method != "HEAD" {
				isProblemDocument(t, got)
			}
			if tc.status == 405 && got.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if got := w.inForce(); got != 4 {
		t.Errorf("%d revocations were stored; 4 were asked for in a way that counts", got)
	}
}

// isProblemDocument holds an answer to RFC 9457 and to saying nothing odd.
func isProblemDocument(t *testing.T, got reply) {
	t.Helper()
	if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	doc := got.json(t)
	if doc["status"] != float64(got.status) || doc["title"] != http.StatusText(got.status) || doc["type"] == "" || doc["code"] == "" || doc["detail"] == "" {
		t.Errorf("problem %s", got.body)
	}
	if strings.Contains(got.body, "<") {
		t.Errorf("raw markup in %s", got.body)
	}
}

// TestToken has a token configured, as it comes from a file.
func TestToken(t *testing.T) {
	w := start(t, func(c *Config) {
		c.Token = []byte("s3cret-of-some-length\n")
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
		c.Checks = func() []Check { return []Check{{Name: "keys", OK: false, Detail: "inside information"}} }
	})
	const good = "Bearer s3cret-of-some-length"
	for name, tc := range map[string]struct {
		path, authorization string
		status              int
	}{
		"right":                    {"/v1/status", good, 200},
		"scheme without case":      {"/v1/status", "bearer s3cret-of-some-length", 200},
		"none":                     {"/v1/status", "", 401},
		"wrong":                    {"/v1/status", "Bearer s3cret-of-some-lengti", 401},
		"a prefix":                 {"/v1/status", "Bearer s3cret-of-some-lengt", 401},
		"one more":                 {"/v1/status", "Bearer s3cret-of-some-lengthh", 401},
		"other case":               {"/v1/status", "Bearer S3CRET-OF-SOME-LENGTH", 401},
		"two spaces":               {"/v1/status", "Bearer  s3cret-of-some-length", 401},
		"basic":                    {"/v1/status", "Basic s3cret-of-some-length", 401},
		"no scheme":                {"/v1/status", "s3cret-of-some-length", 401},
		"empty":                    {"/v1/status", "Bearer ", 401},
		"unknown path":             {"/v1/nothing", "", 401},
		"the page":                 {"/", "", 401},
		"metrics":                  {"/metrics", "", 401},
		"metrics, right":           {"/metrics", good, 200},
		"revocations":              {"/v1/revocations", "", 401},
		"feed":                     {"/v1/feed", "", 401},
		"keys":                     {"/v1/keys", "", 401},
		"livez stays open":         {"/livez", "", 200},
		"readyz stays open":        {"/readyz", "", 503},
		"readyz with a bad token":  {"/readyz?verbose", "Bearer x", 503},
		"readyz with a good token": {"/readyz?verbose", good, 503},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.do(t, ask{"GET", tc.path, "", map[string]string{"Authorization": tc.authorization}})
			if got.status != tc.status {
				t.Fatalf("got %d %s, want %d", got.status, got.body, tc.status)
			}
			if challenge := got.header.Get("Www-Authenticate"); (tc.status == 401) != strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("challenge %q", challenge)
			}
			if strings.HasPrefix(tc.path, "/readyz") && strings.Contains(got.body, "inside") != (tc.authorization == good) {
				t.Errorf("readyz says %q", got.body)
			}
		})
	}
	if got := w.do(t, ask{"POST", "/v1/revocations", session("s"), nil}); got.status != 401 || w.inForce() != 0 {
		t.Errorf("revoked without a token: %d", got.status)
	}
	if got := w.do(t, ask{"DELETE", "/v1/revocations/r1-0", "", nil}); got.status != 401 {
		t.Errorf("lifted without a token: %d", got.status)
	}
}

// raw sends bytes as they are and gives the status line of the answer.
func (w *world) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "HTTP/1.1 "))
}

// TestRawRequests sends what no Go client would.
func TestRawRequests(t *testing.T) {
	w := start(t)
	for name, tc := range map[string]struct{ request, status string }{
		"absolute form":        {"GET http://127.0.0.1:%s/v1/status HTTP/1.1\r\nHost: 127.0.0.1:%[1]s\r\n\r\n", "400"},
		"leading double slash": {"GET //v1/status HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n", "400"},
		"asterisk form":        {"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n", "400"},
		"two Host headers":     {"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nHost: evil\r\n\r\n", "400"},
		"no Host":              {"GET /v1/status HTTP/1.1\r\nX: %s\r\n\r\n", "400"},
		"HTTP/1.0, no Host":    {"GET /v1/status HTTP/1.0\r\nX: %s\r\n\r\n", "421"},
		"headers too large":    {"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nX: " + strings.Repeat("x", maxHeader+8192) + "\r\n\r\n", "431"},
		"a body announced too large": {"POST /v1/revocations HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/json\r\n" +
			"Content-Length: 4194305\r\n\r\n", "413"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.raw(t, fmt.Sprintf(tc.request, w.port))
			if !strings.Contains(got, tc.status) {
				t.Errorf("got %q, want %s", got, tc.status)
			}
		})
	}
}

// TestGateNames is about listeners that are not on loopback.
func TestGateNames(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	everywhere := newGate(":0", tcp("[::]:9292"))
	named := newGate("edge.example:9292", tcp("192.0.2.1:9292"))
	secure := newGate("192.0.2.1:443", tcp("192.0.2.1:443"))
	for _, tc := range []struct {
		gate      *gate
		authority string
		ok        bool
	}{
		{everywhere, "10.1.2.3:9292", true}, // a name can be rebound, an address can not
		{everywhere, "[2001:db8::1]:9292", true},
		{everywhere, "10.1.2.3:9293", false},
		{everywhere, "evil.test:9292", false},
		{everywhere, "admin.example:9292", true}, // of Config.Hosts
		{everywhere, "[fe80::1%25eth0]:9292", false},
		{named, "edge.example:9292", true},
		{named, "EDGE.example:9292", true},
		{named, "192.0.2.1:9292", true},
		{named, "192.0.2.2:9292", false},
		{secure, "192.0.2.1", true},
		{secure, "192.0.2.1:443", true},
		{secure, "192.0.2.1:80", false},
		{secure, "", false},
		{&gate{unix: true}, "anything", true},
	} {
		if got := tc.gate.admits(tc.authority, []string{"admin.example"}); got != tc.ok {
			t.Errorf("%+v admits %q: %v", tc.gate, tc.authority, got)
		}
	}
}

// TestUnixSocket serves on a socket file, where any Host will do, but no
// browser's page.
func TestUnixSocket(t *testing.T) {
	w := start(t)
	s, err := New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }}}
	resp, err := client.Get("http://localhost/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	client.CloseIdleConnections()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPanic: a fault of ours is a 500, and the server goes on.
func TestPanic(t *testing.T) {
	w := start(t, func(c *Config) { c.Checks = func() []Check { panic("boom <b>\n") } })
	got := w.get(t, "/v1/status")
	if got.status != 500 || strings.Contains(got.body, "boom") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	isProblemDocument(t, got)
	if !strings.Contains(w.log.String(), "boom") {
		t.Error("the log does not say what happened")
	}
	if got := w.get(t, "/livez"); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
}
