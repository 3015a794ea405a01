package jwks

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

var (
	public = guard{}
	named  = guard{loopback: true}
	plain  = guard{loopback: true, plain: true}
)

// TestGuard: JK08.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		address               string
		public, named, plains bool
	}{
		{"93.184.216.34", true, true, false},
		{"10.1.2.3", true, true, false}, // identity providers live in private networks
		{"192.168.0.1", true, true, false},
		{"100.64.0.1", true, true, false},
		{"2606:2800:220:1::1", true, true, false},
		{"fd12:3456::1", true, true, false},
		{"64:ff9b::5db8:d822", true, true, false}, // NAT64 of 93.184.216.34
		{"127.0.0.1", false, true, true},
		{"127.255.255.254", false, true, true},
		{"::1", false, true, true},
		{"::ffff:127.0.0.1", false, true, true},
		{"0.0.0.0", false, false, false},
		{"0.1.2.3", false, false, false},
		{"::", false, false, false},
		{"::ffff:0.0.0.0", false, false, false},
		{"169.254.169.254", false, false, false},
		{"169.254.0.1", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"::169.254.169.254", false, false, false},
		{"::127.0.0.1", false, false, false},
		{"::ffff:0:127.0.0.1", false, false, false},
		{"64:ff9b::a9fe:a9fe", false, false, false},
		{"64:ff9b::7f00:1", false, false, false},
		{"64:ff9b:1::a9fe:a9fe", false, false, false},
		{"2002:a9fe:a9fe::1", false, false, false},
		{"2002:7f00:1::", false, false, false},
		{"2001:0:4136:e378:8000:63bf:5601:5601", false, false, false}, // Teredo of 169.254.169.254
		{"fe80::1", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"2606:2800:220:1::1%eth0", false, false, false},
		{"fec0::1", false, false, false},
		{"fd00:ec2::254", false, false, false},
		{"fd20:ce::254", false, false, false},
		{"100.100.100.200", false, false, false},
		{"168.63.129.16", false, false, false},
		{"192.0.0.192", false, false, false},
		{"224.0.0.1", false, false, false},
		{"239.255.255.255", false, false, false},
		{"ff02::1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"240.0.0.1", false, false, false},
	} {
		for _, g := range []struct {
			name string
			guard
			want bool
		}{{"public", public, c.public}, {"named loopback", named, c.named}, {"http", plain, c.plains}} {
			a := netip.MustParseAddr(c.address)
			if why := g.refuse(a); (why == "") != g.want {
				t.Errorf("%s: %s: refused %q, want allowed %v", g.name, c.address, why, g.want)
			}
			err := g.control("tcp", netip.AddrPortFrom(a, 443).String(), nil)
			if (err == nil) != g.want {
				t.Errorf("%s: control(%s) = %v", g.name, c.address, err)
			}
		}
	}
	for _, bad := range []string{"", "example.com:443", "127.0.0.1", "/run/socket", "@abstract"} {
		if named.control("tcp", bad, nil) == nil {
			t.Errorf("control(%q) allows what is no address", bad)
		}
	}
}

// TestCheckURL: JK14.
func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://idp.example/jwks", "https://idp.example:8443/jwks?p=b2c", "https://10.0.0.1/jwks", "https://[2606:2800:220:1::1]/",
		"http://127.0.0.1:8080/jwks", "http://[::1]:8080/jwks", "http://localhost/jwks", "http://LOCALHOST./jwks", "http://idp.localhost/jwks", "https://localhost/",
	} {
		if err := CheckURL(good); err != nil {
			t.Errorf("CheckURL(%s) = %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "idp.example/jwks", "//idp.example/jwks", "file:///etc/passwd", "unix:///run/x", "ftp://idp.example/", "https:", "https://", "https:///jwks", "https:idp.example",
		"https://alice:secret@idp.example/jwks", "https://alice@idp.example/jwks", "https://idp.example/jwks#keys", "https://idp.example/jwks#",
		"http://idp.example/jwks", "http://10.0.0.1/jwks", "http://localhost.example/jwks", "http://notlocalhost/", "http://127.0.0.1.example/",
		"https://169.254.169.254/latest", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[::ffff:169.254.169.254]/", "https://0.0.0.0/", "https://[::]/",
		"https://idp.example:0/", "https://idp.example:65536/", "https://idp.example:x/", "https://idp.example/%zz", "https://idp .example/", "https://idp.example/\n",
	} {
		if err := CheckURL(bad); err == nil {
			t.Errorf("CheckURL(%q) = nil", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if CheckIssuerURL("https://idp.example/realms/a?x=1") == nil || CheckIssuerURL("https://idp.example/?") == nil || CheckIssuerURL("http://a.example") == nil {
		t.Error("CheckIssuerURL lets through what is no issuer")
	}
	if err := CheckIssuerURL("https://idp.example/realms/a/"); err != nil {
		t.Error(err)
	}
}

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
	keys := &switchable{}
	keys.doc(setOf(t, "inside"))
	server := httptest.NewServer(keys)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host string
		g          guard
		answers    []string
		want       string // in the error, "" where the keys are fetched
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
			f := &fetcher{client: newClient(c.g), location: "http://" + c.host + ":" + u.Port() + "/jwks"}
			d := c.g.dialer()
			d.Resolver = nameServer(t, c.answers...)
			f.client.Transport.(*http.Transport).DialContext = d.DialContext
			if len(c.answers) > 1 { // the look that a careless fetcher takes before
				if ips, err := d.Resolver.LookupHost(t.Context(), c.host); err != nil || ips[0] != c.answers[0] {
					t.Fatalf("looked up %v, %v", ips, err)
				}
			}
			before := keys.count.Load()
			_, err := f.keySet(t.Context(), true, false)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("not fetched: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || kindOf(err) != "address"):
				t.Errorf("err = %v of kind %s, want %q", err, kindOf(err), c.want)
			case c.want != "" && keys.count.Load() != before:
				t.Error("the server was reached")
			}
		})
	}
}

// TestNoSuchName: F53.
func TestNoSuchName(t *testing.T) {
	s := newSite(t, setOf(t, "good"), 0)
	refresh(t, s.store)
	d := plain.dialer()
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, net.UnknownNetworkError("no name server")
	}}
	f := s.store.order[0].fetch
	f.client.Transport.(*http.Transport).DialContext = d.DialContext
	f.location = "http://idp.localhost/jwks"
	if err := s.store.Refresh(t.Context(), iss); err == nil {
		t.Error("a name without a name server resolved")
	}
	wantKids(t, s.store, iss, "good")
}
