package envoy_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// pathTricks are spellings that some reader takes for /admin or below, or for
// something else than Holdfast might (envoy.md §1.2, security.md PP01-PP13).
// /public/* asks for nothing, /admin/* for the scope admin, everything else for
// any token. Without a credential none of them may be served, and with a token
// that lacks the scope neither, unless Envoy has made it a plain path that is
// free to go to. other marks those that are, by contract §10, plainly another
// path: a token gets there.
var pathTricks = []struct {
	path  string
	other bool
}{
	{path: "/admin"},
	{path: "/admin/secret"},
	{path: "/admin?x=/public/"}, // PP06: the query never counts
	{path: "/admin/x?/public/a"},
	{path: "/admin/?a=..%2fpublic"},
	{path: "//admin"}, // PP01
	{path: "///admin/secret"},
	{path: "//admin/secret"},
	{path: "/public//../admin"},
	{path: "/public/../admin"}, // PP02
	{path: "/public/%2e%2e/admin"},
	{path: "/public/%2E%2E/admin"},
	{path: "/public/.%2e/admin"},
	{path: "/public/./../admin/secret"},
	{path: "/./admin"},
	{path: "/%2e/admin"},
	{path: "/%2e%2e/admin"},
	{path: "/x/../admin"},
	{path: "/public/..%2fadmin"}, // PP03
	{path: "/public/..%2Fadmin"},
	{path: "/public%2f..%2fadmin"},
	{path: "/public/x%2f..%2f..%2fadmin"},
	{path: "/public/..%5cadmin"},
	{path: "/public/..%5Cadmin"},
	{path: `/public/..\admin`},
	{path: `/public\..\admin`},
	{path: `\admin`},
	{path: "/admin%2fsecret"},
	{path: "/public/%252e%252e/admin"}, // PP04
	{path: "/public/..%252fadmin"},
	{path: "/public/..%25252fadmin"},
	{path: "/public/..%c0%afadmin"},
	{path: "/public/%c0%ae%c0%ae/admin"},
	{path: "/public/%e0%80%af../admin"},
	{path: "/%61dmin"},
	{path: "/%61%64%6d%69%6e/secret"},
	{path: "/adm%69n/secret"},
	{path: "/admin%00"}, // PP05
	{path: "/public/%00/../admin"},
	{path: "/admin%0d%0a"},
	{path: "/admin%7f"},
	{path: "/public/#/../admin"},
	{path: "/public/%23/../../admin"},
	{path: "/admin;v=1"}, // PP06
	{path: "/admin;x=y/secret"},
	{path: "/public/..;/admin"},
	{path: "/public/..;a=b/admin"},
	{path: "/;/admin"},
	{path: "/public/%3b/../admin"},
	{path: "/admin/%2e"},
	{path: "/admin/."},
	{path: "/public/..%u002fadmin"}, // broken escapes
	{path: "/public/%"},
	{path: "/public/%2"},
	{path: "/public/%zz/../admin"},
	{path: "http://app.example/admin"}, // PP13: absolute form
	{path: "http://app.example//admin"},
	{path: "http://admin.example/public2"},
	{path: "*"},
	{path: "admin"},
	{path: "/Admin", other: true}, // PP07
	{path: "/ADMIN/secret", other: true},
	{path: "/admin.", other: true},
	{path: "/adminx", other: true},
	{path: "/public", other: true}, // /public/* is below it only
	{path: "/publicx/y", other: true},
	{path: "/Public/x", other: true},
	{path: "/%2561dmin", other: true}, // decoded once: the segment is %61dmin
}

// plainlyPublic paths mean the same to every reader. Only an Envoy that
// normalises makes such paths out of the tricks.
var plainlyPublic = regexp.MustCompile(`^/public/[a-z]*$`)

func TestPathTricks(t *testing.T) {
	s := newSite(t)
	for _, m := range []mode{hardened, plain, mapped} {
		t.Run(string(m), func(t *testing.T) {
			e := s.startEnvoy(t, m)
			token := s.issuer.Token(time.Now()) // scope "read write"
			e.get(t, "/public/a%20b/c", "").wants(t, "a public path", http.StatusOK, "anonymous")
			e.get(t, "/admin/secret", s.issuer.Token(time.Now(), extauthztest.Claims{"scope": "admin"})).wants(t, "an admin", http.StatusOK, "ok")
			for _, trick := range pathTricks {
				if r := e.get(t, trick.path, ""); r.seen != nil && !plainlyPublic.MatchString(r.seen.Path) {
					t.Errorf("%s without a credential: %d %s, the upstream saw %s", trick.path, r.status, r.line.Reason, r.seen.Path)
				}
				switch r := e.get(t, trick.path, token); {
				case trick.other && r.seen == nil:
					t.Errorf("%s with a token: %d %s", trick.path, r.status, r.line.Reason)
				case !trick.other && r.seen != nil && !plainlyPublic.MatchString(r.seen.Path):
					t.Errorf("%s with a token: %d %s, the upstream saw %s", trick.path, r.status, r.line.Reason, r.seen.Path)
				}
			}
		})
	}
}

// TestPathReasons: what Holdfast itself says where Envoy lets the path through.
func TestPathReasons(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, plain)
	token := s.issuer.Token(time.Now())
	for path, want := range map[string]struct {
		status int
		reason string
	}{
		"/public/../admin":        {400, "path_ambiguous"},
		"/public/%2e%2e/admin":    {400, "path_ambiguous"},
		"/public/..%2fadmin":      {400, "path_ambiguous"},
		"/public/..%5cadmin":      {400, "path_ambiguous"},
		"/public/%252e%252e/x":    {400, "path_ambiguous"},
		"/public/%c0%af":          {400, "path_ambiguous"},
		"/public/%00":             {400, "path_ambiguous"},
		"/public/..;/admin":       {400, "path_ambiguous"},
		"/admin;x=y/secret":       {400, "path_ambiguous"},
		"//admin":                 {400, "path_ambiguous"},
		`/public/..\admin`:        {400, "path_ambiguous"},
		"/public/%zz":             {400, "path_ambiguous"},
		"/%61dmin":                {403, "scope_insufficient"},
		"/admin?x=/public/a":      {403, "scope_insufficient"},
		"/orders?x=/../admin;%2f": {200, "ok"},
	} {
		e.get(t, path, token).wants(t, path, want.status, want.reason)
	}
}

// TestWhatNamesTheRequest: host, method and proxy headers (PP08-PP12, PP19).
func TestWhatNamesTheRequest(t *testing.T) {
	s := newSite(t)
	for _, m := range []mode{hardened, plain, mapped} {
		t.Run(string(m), func(t *testing.T) {
			e := s.startEnvoy(t, m)
			bearer := "Authorization: Bearer " + s.issuer.Token(time.Now())
			for _, host := range []string{"admin.example", "ADMIN.example", "admin.example.", "admin.example:8443", "Admin.Example.:443"} {
				e.send(t, "GET /x HTTP/1.1", "Host: "+host, bearer).wants(t, host, http.StatusForbidden, "scope_insufficient")
			}
			e.send(t, "GET http://admin.example/x HTTP/1.1", "Host: app.example", bearer).
				wants(t, "absolute form counts, not Host", http.StatusForbidden, "scope_insufficient")
			for _, host := range []string{"user@admin.example", "admin.example/x", "admin.example, app.example", "app.example:99x"} {
				if r := e.send(t, "GET /x HTTP/1.1", "Host: "+host, bearer); r.seen != nil {
					t.Errorf("Host %q: %d, the upstream saw %+v", host, r.status, r.seen)
				}
			}
			if r := e.send(t, "GET /x HTTP/1.1", "Host: app.example", "Host: admin.example", bearer); r.seen != nil {
				t.Errorf("two Host headers: the upstream saw %+v", r.seen)
			}

			old := "Authorization: Bearer " + s.issuer.Token(time.Now(), extauthztest.Claims{"auth_time": time.Now().Add(-time.Hour).Unix()})
			for _, override := range []string{"X-HTTP-Method-Override: GET", "X-HTTP-Method: GET", "X-Method-Override: GET"} {
				e.send(t, "POST /transfer/1 HTTP/1.1", override, "Content-Length: 0", old).
					wants(t, override, http.StatusUnauthorized, "auth_too_old")
			}
			for _, first := range []string{"BREW /admin HTTP/1.1", "get /admin HTTP/1.1", "TRACE /admin HTTP/1.1", "CONNECT app.example:443 HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /admin HTTP/1.0"} {
				if r := e.send(t, first, bearer); r.seen != nil {
					t.Errorf("%s: the upstream saw %+v", first, r.seen)
				}
			}
			for _, header := range []string{
				"X-Envoy-Original-Path: /public/a", "X-Original-Url: /public/a", "X-Rewrite-Url: /public/a",
				"X-Forwarded-Uri: /public/a", "X-Forwarded-Prefix: /public", "X-Forwarded-Host: app.example",
			} {
				e.get(t, "/admin", "", header).wants(t, header, http.StatusUnauthorized, "credential_missing")
			}
			if r := e.write(t, "GET /public/a HTTP/1.0\r\n\r\n"); r.seen != nil {
				t.Errorf("HTTP/1.0 without Host: the upstream saw %+v", r.seen)
			}
		})
	}
}
