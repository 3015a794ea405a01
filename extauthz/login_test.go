package extauthz_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// header is the value of a header that the answer sets, "" for none.
func (r *answered) header(name string) string {
	for _, h := range r.SetHeaders {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// TestLogin: a browser that walks to a page is sent to log in, and nobody else
// is sent anywhere.
func TestLogin(t *testing.T) {
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	login := "https://login.example/start?return_to={url}&hint=a"
	r := newMixedRig(t, everyCarrier(
		extauthz.Class{Name: "apps", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialHeader}}},
		extauthz.Class{Name: "browsers", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialCookie}},
			Demand: extauthz.Demand{MaxAge: time.Minute, MaxAuthAge: time.Hour, Scopes: []string{"read"}}, LoginURL: login},
	), nil)
	old := r.issuer.Token(r.now.Add(-5 * time.Minute))
	page := func(headers ...string) *extauthz.Request {
		return get("/a//b", append(headers, "accept", html)...)
	}
	edit := func(req *extauthz.Request, change func(*extauthz.Request)) *extauthz.Request { change(req); return req }
	for name, tc := range map[string]struct {
		req    *extauthz.Request
		want   reason.Reason
		status int
	}{
		"nothing":                            {get("/a", "accept", html), reason.CredentialMissing, 302},
		"navigate":                           {get("/a", "accept", html, "sec-fetch-mode", "navigate"), reason.CredentialMissing, 302},
		"an old cookie":                      {get("/a", "accept", html, "cookie", "__Host-session="+old), reason.TokenTooOld, 302},
		"a broken cookie":                    {get("/a", "accept", html, "cookie", "__Host-session=x"), reason.TokenMalformed, 302},
		"a broken bearer":                    {get("/a", "accept", html, "authorization", "Bearer x"), reason.TokenMalformed, 401},
		"fetch":                              {get("/a", "accept", html, "sec-fetch-mode", "cors"), reason.CredentialMissing, 401},
		"two sec-fetch-mode":                 {get("/a", "accept", html, "sec-fetch-mode", "navigate", "sec-fetch-mode", "cors"), reason.CredentialMissing, 401},
		"a script":                           {get("/a", "accept", "*/*"), reason.CredentialMissing, 401},
		"no accept":                          {get("/a"), reason.CredentialMissing, 401},
		"JSON":                               {get("/a", "accept", "application/json"), reason.CredentialMissing, 401},
		"HTML not wanted":                    {get("/a", "accept", "text/html;q=0, */*"), reason.CredentialMissing, 401},
		"HTML not wanted, written otherwise": {get("/a", "accept", "text/html; Q=0.000"), reason.CredentialMissing, 401},
		"HTML a little wanted":               {get("/a", "accept", "application/json, TEXT/HTML ;q=0.1"), reason.CredentialMissing, 302},
		"xhtml only":                         {get("/a", "accept", "text/html-x"), reason.CredentialMissing, 401},
		"POST":                               {edit(get("/a", "accept", html), func(q *extauthz.Request) { q.Method = "POST" }), reason.CredentialMissing, 401},
		"HEAD":                               {edit(get("/a", "accept", html), func(q *extauthz.Request) { q.Method = "HEAD" }), reason.CredentialMissing, 401},
		"an ambiguous path":                  {page(), reason.PathAmbiguous, 400},
		"two cookies":                        {get("/a", "accept", html, "cookie", "__Host-session=x; __Host-session=y"), reason.CredentialAmbiguous, 400},
	} {
		t.Run(name, func(t *testing.T) {
			d, res := r.answer(tc.req)
			if d.Reason != tc.want || res.Status != tc.status || res.Verdict != reason.Deny {
				t.Fatalf("%v: %d, %v; want %v: %d", d.Reason, res.Status, res.Verdict, tc.want, tc.status)
			}
			a := &answered{*res}
			location := a.header("location")
			if (location != "") != (tc.status == 302) || (a.header("www-authenticate") != "") == (tc.status == 302) {
				t.Errorf("location %q, challenge %q", location, a.header("www-authenticate"))
			}
			if tc.status == 302 && (res.Code != 16 || a.header("cache-control") != "no-store" || location != "https://login.example/start?return_to=https%3A%2F%2Fapi.example%2Fa&hint=a") {
				t.Errorf("code %d, %q, location %q", res.Code, a.header("cache-control"), location)
			}
		})
	}
}

// TestLoginIsNoOpenRedirect: whatever a request is, it stays one value of the
// configured URL's query, with which the page can be found again.
func TestLoginIsNoOpenRedirect(t *testing.T) {
	r := newMixedRig(t, everyCarrier(extauthz.Class{Name: "all", LoginURL: "https://login.example/?return_to={url}&again={url}"}), nil)
	for _, tc := range []struct{ scheme, host, path, back string }{
		{"https", "api.example", "/a?b=c&d=e", "https://api.example/a?b=c&d=e"},
		{"http", "api.example:8080", "/", "http://api.example:8080/"},
		{"", "api.example", "/", "https://api.example/"},
		{"javascript", "api.example", "/", "https://api.example/"},
		{"https", "api.example", "/?return_to=https://evil.example&again=x", "https://api.example/?return_to=https://evil.example&again=x"},
		{"https", "api.example", "/a?%0d%0aset-cookie:a=b", "https://api.example/a?%0d%0aset-cookie:a=b"},
		{"https", "api.example", "/a?{url}", "https://api.example/a?{url}"},
		{"https", "api.example", "/@evil.example/", "https://api.example/@evil.example/"},
	} {
		req := &extauthz.Request{Method: "GET", Scheme: tc.scheme, Host: tc.host, Path: tc.path, Headers: []extauthz.Header{{Name: "accept", Value: "text/html"}}}
		d, res := r.answer(req)
		if res.Status != 302 {
			t.Errorf("%+v: %d, %v", tc, res.Status, d.Reason)
			continue
		}
		to, err := url.Parse((&answered{*res}).header("location"))
		if err != nil || to.Scheme != "https" || to.Host != "login.example" || to.Path != "/" || to.Fragment != "" {
			t.Errorf("%+v: %v, %v", tc, to, err)
			continue
		}
		if q := to.Query(); len(q) != 2 || len(q["return_to"]) != 1 || q.Get("return_to") != tc.back || len(q["again"]) != 1 || q.Get("again") != tc.back {
			t.Errorf("%+v: %v", tc, q)
		}
	}
}

// TestLoginInMonitorMode sends nobody away.
func TestLoginInMonitorMode(t *testing.T) {
	c := everyCarrier(extauthz.Class{Name: "all", LoginURL: "https://login.example/"})
	c.Mode = extauthz.ModeMonitor
	if _, res := newMixedRig(t, c, nil).answer(get("/", "accept", "text/html")); res.Status != 200 || res.Verdict != reason.Allow {
		t.Errorf("%d, %v", res.Status, res.Verdict)
	}
}

// answered is an answer with a way to look into it.
type answered struct{ extauthz.Response }
