package introspect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

func counting(dial func(context.Context, string, string) (net.Conn, error), n *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return dial(ctx, network, address)
	}
}

// bomb is 16 MiB of an answer, compressed.
func bomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(active[:len(active)-1]))
	_, _ = w.Write(bytes.Repeat([]byte(" "), 16<<20))
	_, _ = w.Write([]byte("}"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestAnswer: only true and false, said as RFC 7662 has it, decide.
func TestAnswer(t *testing.T) {
	elsewhere := newIssuer(t, says(200, active))
	redirect := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			says(status, active)(w, r)
		}
	}
	with := func(name, value string, next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.Header().Add(name, value); next(w, r) }
	}
	begun := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			says(200, body)(w, r)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	long := `{"active":true,"x":"` + strings.Repeat("x", jose.MaxObjectBytes) + `"}`
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		result string
		want   string // in the error
	}{
		{"active", says(200, active), resultActive, ""},
		{"with charset", typed(200, "Application/JSON; charset=UTF-8", active), resultActive, ""},
		{"another JSON", typed(200, "application/problem+json", active), resultActive, ""},
		{"white space", says(200, "\n "+active+"\n"), resultActive, ""},
		{"inactive", says(200, `{"active":false}`), resultInactive, ""},
		{"inactive, with more", says(200, `{"active":false,"sub":"a"}`), resultInactive, ""},
		{"inactive with another status", says(400, `{"active":false}`), resultStatus, "status 400"},

		{"no active", says(200, `{"sub":"jdoe"}`), resultContent, "no member active"},
		{"Active", says(200, `{"Active":true}`), resultContent, "no member active"},
		{"active as string", says(200, `{"active":"true"}`), resultContent, "no member active"},
		{"inactive as string", says(200, `{"active":"false"}`), resultContent, "no member active"},
		{"active as number", says(200, `{"active":1}`), resultContent, "no member active"},
		{"inactive as null", says(200, `{"active":null}`), resultContent, "no member active"},
		{"active as object", says(200, `{"active":{}}`), resultContent, "no member active"},
		{"active twice", says(200, `{"active":false,"active":true}`), resultContent, "member twice"},
		{"active twice, once escaped", says(200, `{"active":true,"\u0061ctive":false}`), resultContent, "member twice"},
		{"sub twice", says(200, `{"active":true,"sub":"a","sub":"b"}`), resultContent, "member twice"},
		{"nested twice", says(200, `{"active":true,"cnf":{"jkt":"a","jkt":"b"}}`), resultContent, "member twice"},
		{"too deep", says(200, `{"active":true,"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`), resultContent, "too deep"},
		{"array", says(200, `[`+active+`]`), resultContent, "no JSON object"},
		{"true", says(200, `true`), resultContent, "no JSON object"},
		{"empty", says(200, ``), resultContent, "no JSON object"},
		{"half", says(200, active[:20]), resultContent, "no JSON object"},
		{"two", says(200, active+active), resultContent, "no JSON object"},
		{"not UTF-8", says(200, "{\"active\":true,\"sub\":\"\xff\"}"), resultContent, "no JSON object"},
		{"byte order mark", says(200, "\ufeff"+active), resultContent, "no JSON object"},
		{"long", says(200, long), resultContent, "more than 16384 bytes"},
		{"longest", says(200, long[:20]+long[len(long)-jose.MaxObjectBytes+20:]), resultActive, ""},

		{"page", typed(200, "text/html", active), resultContent, "not application/json"},
		{"text", typed(200, "text/plain", active), resultContent, "not application/json"},
		{"no type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = w.Write([]byte(active))
		}, resultContent, "no content type"},
		{"two types", with("Content-Type", "application/json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Content-Type", "text/html")
			_, _ = w.Write([]byte(active))
		}), resultContent, "or more than one"},
		{"broken type", typed(200, "application/json; =", active), resultContent, "cannot be read"},
		{"RFC 9701", typed(200, "application/token-introspection+jwt", "eyJ.eyJ.AA"), resultContent, "is a JWT"},
		{"RFC 9701 in JSON", typed(200, "application/token-introspection+jwt", active), resultContent, "is a JWT"},
		{"application/jwt", typed(200, "application/jwt", active), resultContent, "is a JWT"},
		{"member jwt", says(200, `{"active":true,"sub":"a","jwt":"eyJ.eyJ.AA"}`), resultContent, "member jwt"},
		{"gzip", with("Content-Encoding", "gzip", says(200, string(bomb(t)))), resultContent, "content encoding"},
		{"gzip called nothing", says(200, string(bomb(t))), resultContent, ""},
		{"br", with("Content-Encoding", "br", says(200, active)), resultContent, "content encoding"},

		{"201", says(201, active), resultStatus, "status 201"},
		{"202", says(202, active), resultStatus, "status 202"},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, resultStatus, "status 204"},
		{"206", says(206, active), resultStatus, "status 206"},
		{"301", redirect(301), resultStatus, "redirects are not followed"},
		{"302", redirect(302), resultStatus, "redirects are not followed"},
		{"303", redirect(303), resultStatus, "redirects are not followed"},
		{"307", redirect(307), resultStatus, "redirects are not followed"},
		{"308", redirect(308), resultStatus, "redirects are not followed"},
		// oidc-provider about a JWT of its own.
		{"unsupported_token_type", says(400, `{"error":"unsupported_token_type","error_description":"x"}`), resultStatus, "status 400, unsupported_token_type"},
		{"unknown code", says(400, `{"error":"custom"}`), resultStatus, "status 400"},
		{"401", says(401, `{"error":"invalid_client"}`), resultCredentials, "client_id or secret"},
		{"401 that says inactive", says(401, `{"active":false}`), resultCredentials, "client_id or secret"},
		{"403", says(403, ``), resultCredentials, "client_id or secret"},
		{"invalid_client by 400", says(400, `{"error":"invalid_client"}`), resultCredentials, "client_id or secret"},
		{"404", says(404, `not found`), resultStatus, "status 404"},
		{"429", says(429, `{"active":false}`), resultStatus, "status 429"},
		{"500", says(500, active), resultStatus, "status 500"},
		{"500 with a long page", typed(500, "text/html", strings.Repeat("x", 1<<20)), resultStatus, "status 500"},
		{"503", says(503, `{"active":false}`), resultStatus, "status 503"},

		{"hangs", hang, resultTimeout, "in time"},
		{"body does not begin", begun(""), resultTimeout, "in time"},
		{"body does not end", begun(active), resultTimeout, "in time"},
		{"body drips", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
				}
			}
		}, resultTimeout, "in time"},
		{"body is shorter than said", with("Content-Length", "4000", says(200, active)), resultUnreachable, "closed before the end"},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, resultUnreachable, "closed before the end"},
		{"long header", with("X-Long", strings.Repeat("x", 200<<10), says(200, active)), resultUnreachable, "does not speak"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timeout := 30 * time.Second
			if c.result == resultTimeout {
				timeout = 300 * time.Millisecond
			}
			i := newIssuer(t, c.answer)
			i.Config.ErrorLog = log.New(io.Discard, "", 0)
			s := open(t, Config{URL: i.URL, Timeout: timeout})
			// The caller's own clock may end first: the call says why.
			claims, f := ask(t, s, timeout)
			switch c.result {
			case resultActive:
				if claims == nil || f != nil {
					t.Errorf("%v, %v", claims, f)
				}
				s.want(t, nil)
			case resultInactive:
				if claims != nil || f != nil {
					t.Errorf("%v, %v", claims, f)
				}
				s.want(t, ErrInactive)
			default:
				if claims != nil || f == nil || f.result != c.result || !strings.Contains(f.Error(), c.want) {
					t.Errorf("%v, %v, want %s with %q", claims, f, c.result, c.want)
				}
				s.want(t, ErrUnavailable)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.asked.Load(); n > 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
	})
}

func ask(t *testing.T, s *tester, timeout time.Duration) (*jose.Object, *fault) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return s.ask(ctx, token)
}

// TestNoServer: nobody there, not HTTP, not TLS, not the right TLS.
func TestNoServer(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	plain := newIssuer(t, says(200, active))
	secure := httptest.NewUnstartedServer(says(200, active))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, c := range []struct{ name, url, want string }{
		{"nobody", closed.URL, "refused"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "no TLS where"},
		{"unknown certificate", secure.URL, "certificate"},
		{"TLS where the URL is http", strings.Replace(secure.URL, "https:", "http:", 1), "status 400"},
		{"no HTTP", raw(t, func(conn net.Conn, _ *http.Request) { _, _ = conn.Write([]byte("220 mail.example ESMTP\r\n")) }), "does not speak HTTP"},
		{"HTTP/2 preface", raw(t, func(conn net.Conn, _ *http.Request) { _, _ = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) }), "does not speak HTTP"},
	} {
		s := open(t, Config{URL: c.url})
		if _, err := s.Introspect(token); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if st := s.Status(); !st.Failing || st.Failed != 1 || st.Calls != 1 || !strings.Contains(st.LastError, c.want) || st.LastErrorAt.IsZero() {
			t.Errorf("%s: status %+v", c.name, st)
		}
	}
	if plain.asked.Load() > 0 {
		t.Error("a request was sent without TLS")
	}

	s := open(t, Config{URL: secure.URL})
	s.http.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	s.want(t, nil)
}

// raw is a server that is asked over HTTP and answers with what it likes, and
// closes the connection then.
func raw(t *testing.T, answer func(net.Conn, *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_ = r.ParseForm()
				answer(conn, r)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// TestNothingLeaks: an issuer that repeats the token and the secret wherever it
// can finds neither of them in what Holdfast says.
func TestNothingLeaks(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("holdfast:" + url.QueryEscape(pass)))
	both := token + " " + pass + " " + basic
	quiet := strings.NewReplacer(" ", "-", "/", "-").Replace(both)
	line := func(format string) func(net.Conn, *http.Request) {
		return func(conn net.Conn, r *http.Request) {
			if r.PostForm.Get("token") != token {
				t.Errorf("form %v", r.PostForm)
			}
			_, _ = fmt.Fprintf(conn, format, both)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	urls := map[string]string{
		"status line":    raw(t, line("%s\r\n\r\n")),
		"status":         raw(t, line("HTTP/1.1 %s\r\n\r\n")),
		"reason":         raw(t, line("HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n")),
		"header":         raw(t, line(ok+"%s\r\n\r\n")),
		"length":         raw(t, line(ok+"Content-Length: %s\r\n\r\n")),
		"transfer":       raw(t, line(ok+"Transfer-Encoding: %s\r\n\r\n")),
		"chunk":          raw(t, line(ok+"Transfer-Encoding: chunked\r\n\r\n%s\r\n")),
		"trailer":        raw(t, line(ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n%s\r\n")),
		"location":       raw(t, line("HTTP/1.1 302 Found\r\nLocation: http://%s\r\nContent-Length: 0\r\n\r\n")),
		"type":           newIssuer(t, typed(200, both, active)).URL,
		"type with name": newIssuer(t, typed(200, "application/"+quiet, active)).URL,
		"coding": newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", both)
			says(200, active)(w, r)
		}).URL,
		"body":                newIssuer(t, says(200, both)).URL,
		"member twice":        newIssuer(t, says(200, fmt.Sprintf(`{"%[1]s":1,"%[1]s":2}`, token))).URL,
		"error":               newIssuer(t, says(400, fmt.Sprintf(`{"error":"%s"}`, both))).URL,
		"error of the client": newIssuer(t, says(401, fmt.Sprintf(`{"error":"invalid_client","error_description":"%s"}`, both))).URL,
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{URL: url})
			_, err := s.Introspect(token)
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("Introspect: %v", err)
			}
			said := fmt.Sprintf("%v %s %+v %v", err, s.logged(), s.Status(), s.counted())
			for _, secret := range []string{token, token[:8], "token~", pass, basic, "s3cret"} {
				if strings.Contains(said, secret) {
					t.Errorf("%q is in: %s", secret, said)
				}
			}
		})
	}
}

// TestStaleConnection: a connection that the issuer closes just when it is used
// again is no failure.
func TestStaleConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			if r, err := http.ReadRequest(in); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(active), active)
				_, _ = http.ReadRequest(in)
			}
			_ = conn.Close()
		}
	}()
	s := open(t, Config{URL: "http://" + l.Addr().String()})
	for range 10 {
		s.want(t, nil)
	}
	s.Client.Close()
	_ = l.Close()
	<-done
}

// FuzzDecode: whatever is answered, claims come only out of an object whose
// active is true, and no text of the answer into the error.
func FuzzDecode(f *testing.F) {
	const json = "application/json"
	f.Add(200, json, []byte(active))
	f.Add(200, json, []byte(`{"active":false}`))
	f.Add(200, json, []byte(`{"active":true,"active":false}`))
	f.Add(200, json, []byte(`{"active":true,"jwt":"a"}`))
	f.Add(200, "application/token-introspection+jwt", []byte(`eyJ.e30.`))
	f.Add(400, json, []byte(`{"error":"unsupported_token_type"}`))
	f.Add(401, json, []byte(`{"error":"invalid_client"}`))
	f.Add(502, "text/html; charset=x", []byte(`<title>echo`+token))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		claims, fault := decode(status, http.Header{"Content-Type": {kind}}, body)
		decided := status == 200 && fault == nil
		switch {
		case claims != nil && fault != nil:
			t.Fatal("claims and a fault")
		case fault == nil && !decided:
			t.Fatalf("status %d decides", status)
		case fault != nil:
			if len(fault.Error()) > 150 || strings.Contains(fault.Error(), token) || fault.silent() {
				t.Fatalf("fault %q", fault)
			}
			return
		}
		again, err := jose.ParseObject(body)
		if err != nil || again.Has("jwt") || !strings.HasSuffix(strings.ToLower(strings.TrimSpace(strings.Split(kind, ";")[0])), "json") {
			t.Fatalf("%q of type %q decides: %v", body, kind, err)
		}
		if v, _ := again.Get("active"); claims != nil && v.Raw() != "true" || claims == nil && v.Raw() != "false" {
			t.Fatalf("%q: claims %v", body, claims)
		}
	})
}
