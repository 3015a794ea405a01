package dial

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nameServer answers each DNS query for an address with the next of answers,
// and the last one for ever.
func nameServer(t *testing.T, answers ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			end := 12 // of the question: the name's labels, its type and class
			for end < n && query[end] != 0 {
				end += int(query[end]) + 1
			}
			end += 5
			answer := append([]byte{}, query[:end]...)
			copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			if kind := binary.BigEndian.Uint16(query[end-4:]); kind == 1 { // A
				ip := netip.MustParseAddr(answers[min(int(asked.Add(1)), len(answers))-1]).As4()
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				answer = append(answer, ip[:]...)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// TestNameResolves: what counts is the address that is connected to, whatever
// name it came from and whatever the name meant a moment before. JK08.
func TestNameResolves(t *testing.T) {
	var reached atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host string
		g          guard
		answers    []string
		want       string // in the error, "" where the server is reached
	}{
		{"to loopback", "idp.example", public, []string{"127.0.0.1"}, "is loopback"},
		{"to metadata", "idp.example", public, []string{"169.254.169.254"}, "link-local"},
		{"to metadata, though loopback is named", "idp.localhost", named, []string{"169.254.169.254"}, "link-local"},
		{"to everything", "idp.example", public, []string{"0.0.0.0"}, "unspecified"},
		{"http leaves loopback", "idp.localhost", plain, []string{"10.0.0.1"}, "loopback only"},
		{"loopback is named", "idp.localhost", plain, []string{"127.0.0.1"}, ""},
		{"flips after a first look", "idp.example", public, []string{"10.255.255.1", "127.0.0.1"}, "is loopback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := clientOf(c.g, Config{})
			d := c.g.dialer()
			d.Resolver = nameServer(t, c.answers...)
			client.Transport.(*http.Transport).DialContext = d.DialContext
			if len(c.answers) > 1 { // the look that a careless client takes before
				if ips, err := d.Resolver.LookupHost(t.Context(), c.host); err != nil || ips[0] != c.answers[0] {
					t.Fatalf("looked up %v, %v", ips, err)
				}
			}
			before := reached.Load()
			res, err := client.Get("http://" + c.host + ":" + u.Port() + "/jwks")
			if err == nil {
				res.Body.Close()
			}
			_, refused := errors.AsType[*RefusedError](err)
			switch {
			case c.want == "" && (err != nil || reached.Load() != before+1):
				t.Errorf("not reached: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !refused):
				t.Errorf("err = %v, refused %v, want %q", err, refused, c.want)
			case c.want != "" && reached.Load() != before:
				t.Error("the server was reached")
			}
		})
	}
}

// TestClient: what every client has in common, and what its Config changes.
func TestClient(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	var accept atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept.Store(r.Header.Get("Accept-Encoding"))
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	u, err := ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		Config
		coding string
	}{
		{Config{URL: u}, ""},
		{Config{URL: u, Keep: 2}, ""},
		{Config{URL: u, Compressed: true}, "gzip"},
	} {
		client := Client(c.Config)
		tr := client.Transport.(*http.Transport)
		if tr.Proxy != nil || tr.DialTLSContext != nil || tr.MaxResponseHeaderBytes != maxHeader || tr.DisableKeepAlives != (c.Keep == 0) || tr.MaxConnsPerHost != c.Keep {
			t.Errorf("%+v: transport %+v", c.Config, tr)
		}
		res, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusTemporaryRedirect || accept.Load() != c.coding {
			t.Errorf("%+v: status %d, asked for coding %q", c.Config, res.StatusCode, accept.Load())
		}
		client.CloseIdleConnections()
	}
}
