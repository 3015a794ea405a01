package envoy_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestCredentials: one credential, or none (CK01, CK03, CK08, CK11), in both
// encodings of the headers.
func TestCredentials(t *testing.T) {
	s := newSite(t)
	now := time.Now()
	good, other := s.issuer.Token(now), s.issuer.Token(now)
	for _, m := range []mode{hardened, mapped} {
		t.Run(string(m), func(t *testing.T) {
			e := s.startEnvoy(t, m)
			for _, c := range []struct {
				what    string
				status  int
				reason  string
				headers []string
			}{
				{"one token", 200, "ok", []string{"Authorization: Bearer " + good}},
				{"scheme in lower case", 200, "ok", []string{"Authorization: bearer " + good}},
				{"name in upper case", 200, "ok", []string{"AUTHORIZATION: BEARER " + good}},
				{"none", 401, "credential_missing", nil},
				{"an empty one", 401, "credential_missing", []string{"Authorization:"}},
				{"Basic", 401, "credential_missing", []string{"Authorization: Basic YTpi"}},
				{"two headers", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good, "Authorization: Bearer " + other}},
				{"two equal headers", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good, "authorization: Bearer " + good}},
				{"good, then junk", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good, "Authorization: junk"}},
				{"junk, then good", 400, "credential_ambiguous", []string{"Authorization: junk", "Authorization: Bearer " + good}},
				{"joined by a comma", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good + ",Bearer " + other}},
				{"comma and space", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good + ", Bearer " + other}},
				{"comma at the end", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good + ","}},
				{"Bearer and DPoP", 400, "credential_ambiguous", []string{"Authorization: Bearer " + good, "Authorization: DPoP " + good}},
				{"two spaces", 401, "token_malformed", []string{"Authorization: Bearer  " + good}},
				{"no token", 401, "token_malformed", []string{"Authorization: Bearer"}},
				{"a tab", 401, "token_malformed", []string{"Authorization: Bearer\t" + good}},
				{"not UTF-8", 401, "token_malformed", []string{"Authorization: Bearer " + good + "\xff"}},
				{"padding", 401, "token_malformed", []string{"Authorization: Bearer " + good + "="}},
				{"forged", 401, "signature_invalid", []string{"Authorization: Bearer " + extauthztest.Forge(good)}},
				{"not UTF-8 elsewhere", 200, "ok", []string{"X-Any: \xff\xfe", "Authorization: Bearer " + good}},
				{"in a WebSocket protocol", 401, "credential_missing", []string{"Sec-WebSocket-Protocol: bearer, " + good}},
				{"in a cookie", 401, "credential_missing", []string{"Cookie: access_token=" + good}},
				{"in X-Authorization", 401, "credential_missing", []string{"X-Authorization: Bearer " + good, "X-Forwarded-Authorization: Bearer " + good}},
			} {
				e.send(t, "GET /orders HTTP/1.1", c.headers...).wants(t, c.what, c.status, c.reason)
			}
			e.get(t, "/orders?access_token="+good, "").wants(t, "in the query", http.StatusUnauthorized, "credential_missing")
		})
	}
}

// TestIdentityHeaders: what the upstream is told about the caller is Holdfast's
// word alone (CK09, CK10, RS02, RS03, RS09).
func TestIdentityHeaders(t *testing.T) {
	s := newSite(t)
	forged := []string{
		"x-holdfast-subject: root", "X-Holdfast-Subject: root2", "X-HOLDFAST-SESSION: root", "x-holdfast-class: root",
		"x-holdfast-anything: root", "DPoP: left over",
	}
	underscored := []string{"x_holdfast_subject: root", "X_Holdfast-Session: root", "x-holdfast_class: root", "x_holdfast_anything: root"}
	identity := func(r *result) map[string][]string {
		t.Helper()
		if r.seen == nil {
			t.Fatalf("not served: %d %s", r.status, r.body)
		}
		got := map[string][]string{}
		for name, values := range r.seen.Headers {
			if strings.Contains(strings.ReplaceAll(name, "_", "-"), "holdfast") || name == "dpop" {
				got[name] = values
			}
		}
		return got
	}
	mine := map[string][]string{
		"x-holdfast-subject": {extauthztest.Subject}, "x-holdfast-session": {extauthztest.Session}, "x-holdfast-class": {"people"},
	}
	for _, m := range []mode{hardened, plain, mapped} {
		t.Run(string(m), func(t *testing.T) {
			e := s.startEnvoy(t, m)
			headers := forged
			if m == hardened {
				r := e.get(t, "/orders", s.issuer.Token(time.Now()), underscored[0])
				if r.seen != nil {
					t.Errorf("a header with underscores: the upstream saw %+v", r.seen)
				}
			} else {
				headers = append(append([]string{}, forged...), underscored...)
			}
			token := s.issuer.Token(time.Now())
			if diff := cmp.Diff(mine, identity(e.get(t, "/orders", token, headers...))); diff != "" {
				t.Errorf("with a token (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string][]string{}, identity(e.get(t, "/public/a", token, headers...))); diff != "" {
				t.Errorf("on an anonymous route (-want +got):\n%s", diff)
			}
			// RFC 9110, 7.6.1: a client may name headers that the next hop drops.
			nominated := e.write(t, "GET /orders HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer "+token+
				"\r\nConnection: close, x-holdfast-subject, x-holdfast-session\r\nx-holdfast-subject: root\r\n\r\n")
			if nominated.status == http.StatusOK {
				if diff := cmp.Diff(mine, identity(nominated)); diff != "" {
					t.Errorf("nominated by Connection (-want +got):\n%s", diff)
				}
			}
			// A subject with bytes that end a header, or make it two.
			odd := s.issuer.Token(time.Now(), extauthztest.Claims{"sub": "a,b\r\nx-holdfast-class: root\x00é"})
			if r := e.get(t, "/orders", odd); r.seen != nil {
				got := identity(r)
				subject := strings.Join(got["x-holdfast-subject"], "|")
				if len(got) != 3 || strings.ContainsAny(subject, ",\r\n\x00|") || got["x-holdfast-class"][0] != "people" {
					t.Errorf("an odd subject: %q", got)
				}
			}
		})
	}
}

// TestNoTokenIsLogged: RS07.
func TestNoTokenIsLogged(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened)
	good := s.issuer.Token(time.Now())
	forged := extauthztest.Forge(good)
	e.get(t, "/orders", good).wants(t, "good", http.StatusOK, "ok")
	e.get(t, "/orders?access_token="+good, "").wants(t, "in the query", http.StatusUnauthorized, "credential_missing")
	e.get(t, "/orders?access_token="+good, good).wants(t, "in the query too", http.StatusBadRequest, "credential_ambiguous")
	e.get(t, "/orders", forged).wants(t, "forged", http.StatusUnauthorized, "signature_invalid")
	e.get(t, "/orders", good+","+good).wants(t, "twice", http.StatusBadRequest, "credential_ambiguous")
	e.Stop()
	s.holdfast.Stop()
	payload := strings.Split(good, ".")[1]
	for _, file := range []string{e.access, e.LogFile, filepath.Join(s.dir, "holdfast.log")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), payload) || strings.Contains(string(text), "access_token") {
			t.Errorf("%s holds the token", file)
		}
	}
}
