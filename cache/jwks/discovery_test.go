package jwks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// provider is an issuer on loopback whose documents a test sets by path.
type provider struct {
	url string

	mu    sync.Mutex
	paths map[string]http.HandlerFunc
	asked []string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{paths: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h := p.paths[r.URL.Path]
	p.asked = append(p.asked, r.URL.Path)
	p.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (p *provider) put(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths[path] = h
}

func (p *provider) requests() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := strings.Join(p.asked, " ")
	p.asked = nil
	return asked
}

func metadataOf(issuer, jwksURI string) http.HandlerFunc {
	return serve(fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"token_endpoint":"x","scopes_supported":["a"]}`, issuer, jwksURI))
}

// TestWellKnown: where the metadata is looked for.
func TestWellKnown(t *testing.T) {
	for issuer, want := range map[string][2]string{
		"https://idp.example":               {"https://idp.example/.well-known/openid-configuration", "https://idp.example/.well-known/oauth-authorization-server"},
		"https://idp.example/":              {"https://idp.example/.well-known/openid-configuration", "https://idp.example/.well-known/oauth-authorization-server"},
		"https://idp.example:8443/realms/a": {"https://idp.example:8443/realms/a/.well-known/openid-configuration", "https://idp.example:8443/.well-known/oauth-authorization-server/realms/a"},
		"https://idp.example/realms/a%2Fb/": {"https://idp.example/realms/a%2Fb/.well-known/openid-configuration", "https://idp.example/.well-known/oauth-authorization-server/realms/a%2Fb"},
		"http://[::1]:8080/tenant":          {"http://[::1]:8080/tenant/.well-known/openid-configuration", "http://[::1]:8080/.well-known/oauth-authorization-server/tenant"},
	} {
		if got := [2]string{openIDLocation(issuer), oauthLocation(issuer)}; got != want {
			t.Errorf("%s: %q, want %q", issuer, got, want)
		}
	}
}

func TestDiscover(t *testing.T) {
	const (
		openID = "/realms/a" + openIDPath
		oauth  = oauthPath + "/realms/a"
	)
	p := newProvider(t)
	issuer := p.url + "/realms/a"
	keys := p.url + "/keys"
	p.put("/keys", serve(setOf(t, "k")))
	p.put("/stolen", serve(setOf(t, "attacker")))
	big := strings.Repeat(" ", maxBody+1)

	for _, c := range []struct {
		name          string
		openID, oauth http.HandlerFunc
		want          string // in the error, "" where the keys are found
	}{
		{"openid", metadataOf(issuer, keys), nil, ""},
		{"oauth only", nil, metadataOf(issuer, keys), ""},
		{"openid is a page", serve("<html>"), metadataOf(issuer, keys), ""},
		{"openid fails", down, metadataOf(issuer, keys), ""},
		{"openid wins", metadataOf(issuer, keys), metadataOf(issuer, p.url+"/stolen"), ""},
		{"neither", nil, nil, "status 404"},
		{"another issuer", metadataOf("https://evil.example", keys), metadataOf(issuer, keys), `its issuer is "https://evil.example"`},
		{"another issuer in oauth", nil, metadataOf(issuer+"x", keys), "its issuer is"},
		{"issuer with a slash more", metadataOf(issuer+"/", keys), nil, "its issuer is"},
		{"issuer in other case", metadataOf(strings.ToUpper(issuer), keys), nil, "its issuer is"},
		{"no issuer", serve(`{"jwks_uri":"` + keys + `"}`), nil, "its issuer is"},
		{"issuer is a list", serve(`{"issuer":["` + issuer + `"],"jwks_uri":"` + keys + `"}`), nil, "its issuer is"},
		{"Issuer", serve(`{"Issuer":"` + issuer + `","jwks_uri":"` + keys + `"}`), nil, "its issuer is"},
		{"two issuers", serve(`{"issuer":"https://evil.example","issuer":"` + issuer + `","jwks_uri":"` + keys + `"}`), nil, openID},
		{"no jwks_uri", serve(`{"issuer":"` + issuer + `"}`), nil, "names no jwks_uri"},
		{"empty jwks_uri", metadataOf(issuer, ""), nil, "names no jwks_uri"},
		{"jwks_uri is http", metadataOf(issuer, "http://idp.example/keys"), nil, "use https"},
		{"jwks_uri is a file", metadataOf(issuer, "file:///etc/keys"), nil, "not https"},
		{"jwks_uri is relative", metadataOf(issuer, "/keys"), nil, "not https"},
		{"jwks_uri has a user", metadataOf(issuer, strings.Replace(keys, "//", "//a:b@", 1)), nil, "has a user"},
		{"jwks_uri is metadata", metadataOf(issuer, "https://169.254.169.254/keys"), nil, "link-local"},
		{"metadata redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/moved", http.StatusFound)
		}, nil, "redirects are not followed"},
		{"metadata is too large", serve(big), nil, "more than"},
		{"metadata is an array", serve("[]"), nil, openID},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.put("/moved", metadataOf(issuer, p.url+"/stolen"))
			p.put(openID, c.openID)
			p.put(oauth, c.oauth)
			s := open(t, Config{Sources: []Source{{Issuer: issuer, Discover: true}}})
			err := s.Refresh(t.Context(), issuer)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantKids(t, s, issuer, "k")
				if st := s.Status()[0]; st.Source != "discovery" || st.From != keys {
					t.Errorf("status %+v", st)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q", err, c.want)
			}
			wantKids(t, s, issuer)
		})
	}
}

// TestDiscoverAgain: every refresh asks where the keys are now, and an issuer
// that then says something wrong loses nothing.
func TestDiscoverAgain(t *testing.T) {
	p := newProvider(t)
	p.put("/1", serve(setOf(t, "one")))
	p.put("/2", serve(setOf(t, "two")))
	s := open(t, Config{Sources: []Source{{Issuer: p.url, Discover: true}}})
	look := func() error { return s.Refresh(t.Context(), p.url) }

	p.put(openIDPath, metadataOf(p.url, p.url+"/1"))
	if err := look(); err != nil {
		t.Fatal(err)
	}
	wantKids(t, s, p.url, "one")
	p.put(openIDPath, metadataOf(p.url, p.url+"/2"))
	p.requests()
	if err := look(); err != nil {
		t.Fatal(err)
	}
	wantKids(t, s, p.url, "two")
	if got := p.requests(); got != openIDPath+" /2" {
		t.Errorf("asked for %s", got)
	}
	p.put(openIDPath, metadataOf("https://evil.example", p.url+"/1"))
	if err := look(); err == nil {
		t.Error("metadata of another issuer was taken")
	}
	wantKids(t, s, p.url, "two")
}

// TestDiscoverLoopback: a document of an issuer that is elsewhere does not lead
// to loopback, not even by name.
func TestDiscoverLoopback(t *testing.T) {
	p := newProvider(t)
	p.put("/keys", serve(setOf(t, "inside")))
	for _, uri := range []string{p.url + "/keys", "https://localhost/keys", "https://[::1]/keys"} {
		p.put(openIDPath, metadataOf(p.url, uri))
		f := newFetcher(Source{Issuer: p.url, Discover: true})
		f.loopback = false // as of an issuer elsewhere, which a test has none of
		if _, err := f.keySet(t.Context(), true, false); err == nil || !strings.Contains(err.Error(), "is on loopback") {
			t.Errorf("jwks_uri %s: err = %v", uri, err)
		}
	}
}
