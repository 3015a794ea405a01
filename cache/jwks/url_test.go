package jwks

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// TestCheckURL: JK14. The URLs themselves are tested in package dial.
func TestCheckURL(t *testing.T) {
	if CheckURL("https://169.254.169.254/jwks") == nil || CheckURL("http://idp.example/jwks") == nil {
		t.Error("CheckURL lets through what is never fetched")
	}
	if err := CheckURL("https://idp.example:8443/jwks?p=b2c"); err != nil {
		t.Error(err)
	}
	if CheckIssuerURL("https://idp.example/realms/a?x=1") == nil || CheckIssuerURL("https://idp.example/?") == nil || CheckIssuerURL("http://a.example") == nil {
		t.Error("CheckIssuerURL lets through what is no issuer")
	}
	if err := CheckIssuerURL("https://idp.example/realms/a/"); err != nil {
		t.Error(err)
	}
}

// TestRefusedAddress: keys are fetched through package dial's guard. JK08.
func TestRefusedAddress(t *testing.T) {
	s := newSite(t, setOf(t, "good"), 0)
	refresh(t, s.store)
	before := s.count.Load()
	f := s.store.order[0].fetch
	other := newFetcher(Source{Issuer: iss, URL: "https://idp.example/jwks"})
	other.location = f.location // a document led here
	if _, err := other.keySet(t.Context(), true, false); err == nil || kindOf(err) != "address" {
		t.Errorf("err = %v of kind %s", err, kindOf(err))
	}
	if s.count.Load() != before {
		t.Error("the server was reached")
	}
}

// TestNoSuchName: F53.
func TestNoSuchName(t *testing.T) {
	s := newSite(t, setOf(t, "good"), 0)
	refresh(t, s.store)
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, net.UnknownNetworkError("no name server")
	}}}
	f := s.store.order[0].fetch
	f.client.Transport.(*http.Transport).DialContext = d.DialContext
	f.location = "http://idp.localhost/jwks"
	if err := s.store.Refresh(t.Context(), iss); err == nil {
		t.Error("a name without a name server resolved")
	}
	wantKids(t, s.store, iss, "good")
}
