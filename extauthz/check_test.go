package extauthz_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

const idp = "https://idp.example"

// keys gives each issuer's current set.
type keys map[string]*jose.KeySet

func (k keys) KeySet(issuer string) (*jose.KeySet, bool) { set, ok := k[issuer]; return set, ok }
func (k keys) Wanted(string)                             {}

// rig is a checker over one issuer, with the feed live.
type rig struct {
	*extauthz.Checker
	t       testing.TB
	issuer  *extauthztest.Issuer
	now     time.Time
	records uint64
}

func newRig(t testing.TB, c extauthz.Config) *rig {
	t.Helper()
	if c.Classes == nil {
		c.Classes = []extauthz.Class{{Name: "any"}}
	}
	c.FeedMaxAge = 10 * time.Second
	c.Headers = extauthz.HeaderNames{Subject: "x-holdfast-subject", Session: "x-holdfast-session", Class: "x-holdfast-class", Remove: []string{"dpop"}}
	policy, err := extauthz.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	issuer := extauthztest.NewIssuer(t, idp)
	set, err := jose.ParseKeySet(issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(token.Config{
		Issuers: []token.Issuer{{Name: idp, Audiences: []string{extauthztest.Audience}, Algorithms: []string{"ES256"}, Types: []string{"at+jwt"}, Skew: 30 * time.Second}},
		Keys:    keys{idp: set}, MaxBytes: 8192, Classify: policy.Classify,
	})
	if err != nil {
		t.Fatal(err)
	}
	dpop, err := proof.NewDPoP(proof.DPoPConfig{MaxAge: time.Minute, FutureSkew: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	replay, err := cache.NewReplay(cache.ReplayConfig{Entries: 64})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, issuer: issuer, now: time.Now().Truncate(time.Second), Checker: &extauthz.Checker{
		Policy: policy, Tokens: tokens, Index: cache.NewIndex(), Sync: &cache.Sync{}, Clock: &extauthz.Clock{},
		DPoP: dpop, Replay: replay,
		Certificates: proof.NewCertificates(), Beginnings: &cache.Beginnings{},
	}}
	r.Sync.Advance(1, r.now)
	return r
}

func (r *rig) revoke(kind cache.Kinds, value string, before time.Time) {
	issuer := idp
	if !kind.InIssuer() {
		issuer = ""
	}
	r.records++
	r.Index.Apply(r.records, r.now, []cache.Event{{
		Op: cache.OpRevoke, Kinds: kind, Key: cache.KeyOf(kind, issuer, value), Issuer: issuer, Value: value,
		Before: before, Until: r.now.Add(time.Hour),
	}})
}

// answer checks one request and gives decision and answer.
func (r *rig) answer(req *extauthz.Request) (*extauthz.Decision, *extauthz.Response) {
	d, res := &extauthz.Decision{ID: "d-1"}, &extauthz.Response{}
	r.Check(req, r.now, d)
	d.Respond(req, res)
	return d, res
}

func get(path string, headers ...string) *extauthz.Request {
	req := &extauthz.Request{Method: "GET", Path: path, Host: "api.example", Scheme: "https"}
	for i := 0; i < len(headers); i += 2 {
		req.Headers = append(req.Headers, extauthz.Header{Name: headers[i], Value: headers[i+1]})
	}
	return req
}

func bearer(token string) *extauthz.Request { return get("/x", "authorization", "Bearer "+token) }

func claims(more extauthztest.Claims) func(*rig) *extauthz.Request {
	return func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now, more)) }
}

func secondsAgo(r *rig, s int) int64 { return r.now.Unix() - int64(s) }

// TestCheck: one line a behaviour, the policy above it.
func TestCheck(t *testing.T) {
	mine := extauthztest.NewCertificate(t, "alice")
	other := extauthztest.NewCertificate(t, "mallory")
	bound := extauthztest.CertificateBound(mine.X5T)
	with := func(cert string, req *extauthz.Request) *extauthz.Request { req.Certificate = cert; return req }
	aged := func(seconds int, c extauthztest.Claims) func(*rig) *extauthz.Request {
		return func(r *rig) *extauthz.Request {
			return bearer(r.issuer.Token(r.now, extauthztest.Claims{"iat": secondsAgo(r, seconds)}, c))
		}
	}
	authenticated := func(seconds int, path string) func(*rig) *extauthz.Request {
		return func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, extauthztest.Claims{"auth_time": secondsAgo(r, seconds)}))
			req.Path = path
			return req
		}
	}
	plain := extauthz.Config{}
	class := func(d extauthz.Demand) extauthz.Config {
		return extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: d}}}
	}
	cookies := extauthz.Config{Carriers: []extauthz.Carrier{{Kind: extauthz.CredentialHeader}, {Kind: extauthz.CredentialCookie, Name: "__Host-session"}}}
	cookies2 := cookies
	cookies2.Classes = []extauthz.Class{{Name: "browser", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialCookie}}}}
	xfcc := func(m proof.Methods) extauthz.Config {
		return extauthz.Config{XFCC: true, Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{Binding: m}}}}
	}
	routes := extauthz.Config{Routes: []extauthz.Route{
		{Name: "health", Match: []extauthz.RouteMatch{{Paths: []string{"/healthz"}}}, Anonymous: true},
		{Name: "pay", Match: []extauthz.RouteMatch{{Paths: []string{"/transfer/*"}}}, Demand: extauthz.Demand{MaxAuthAge: 5 * time.Minute}},
		{Name: "admin", Match: []extauthz.RouteMatch{{Paths: []string{"/admin", "/admin/*"}}}, Demand: extauthz.Demand{ACR: []string{"aal3"}, Scopes: []string{"admin"}}},
	}}
	strictest := routes
	strictest.Strictest = true

	for _, tc := range []struct {
		name   string
		policy extauthz.Config
		want   reason.Reason
		req    func(*rig) *extauthz.Request
	}{
		{"a valid token", plain, reason.OK, claims(nil)},
		{"no credential", plain, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("/x") }},
		{"an empty Authorization", plain, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("/x", "authorization", "") }},
		{"Basic", plain, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("/x", "authorization", "Basic YTpi") }},
		{"scheme in lower case", plain, reason.OK, func(r *rig) *extauthz.Request { return get("/x", "authorization", "bearer "+r.issuer.Token(r.now)) }},
		{"scheme in upper case", plain, reason.OK, func(r *rig) *extauthz.Request { return get("/x", "authorization", "BEARER "+r.issuer.Token(r.now)) }},
		{"header name in upper case", plain, reason.OK, func(r *rig) *extauthz.Request { return get("/x", "Authorization", "Bearer "+r.issuer.Token(r.now)) }},
		{"a tab after the scheme", plain, reason.TokenMalformed, func(r *rig) *extauthz.Request { return get("/x", "authorization", "Bearer\t"+r.issuer.Token(r.now)) }},
		{"two spaces", plain, reason.TokenMalformed, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "Bearer  "+r.issuer.Token(r.now))
		}},
		{"a space at the end", plain, reason.TokenMalformed, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "Bearer "+r.issuer.Token(r.now)+" ")
		}},
		{"scheme alone", plain, reason.TokenMalformed, func(*rig) *extauthz.Request { return get("/x", "authorization", "Bearer") }},
		{"scheme and a space", plain, reason.TokenMalformed, func(*rig) *extauthz.Request { return get("/x", "authorization", "Bearer ") }},
		{"two Authorization fields", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x", "authorization", "Bearer "+tok, "authorization", "Bearer "+tok)
		}},
		{"two, in another case", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "Basic YTpi", "AUTHORIZATION", "Bearer "+r.issuer.Token(r.now))
		}},
		{"joined by a comma", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x", "authorization", "Bearer "+tok+",Bearer "+tok)
		}},
		{"an underscore twin is no credential", plain, reason.CredentialMissing, func(r *rig) *extauthz.Request {
			return get("/x", "x_authorization", "Bearer "+r.issuer.Token(r.now))
		}},
		{"a token in the query is none", plain, reason.CredentialMissing, func(r *rig) *extauthz.Request { return get("/x?access_token=" + r.issuer.Token(r.now)) }},
		{"CK02 header and query", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x?a=b&access_token="+tok, "authorization", "Bearer "+tok)
		}},
		{"CK02 header and query, an empty one", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			return get("/x?access_token", "authorization", "Bearer "+r.issuer.Token(r.now))
		}},
		{"CK02 header and query, escaped", plain, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			return get("/x?acc%65ss_token=1", "authorization", "Bearer "+r.issuer.Token(r.now))
		}},
		{"header and another parameter", plain, reason.OK, func(r *rig) *extauthz.Request {
			return get("/x?access_tokens=1&Access_Token=2&a=access_token&b=?access_token=3&%zz", "authorization", "Bearer "+r.issuer.Token(r.now))
		}},
		{"non-UTF-8 as Envoy writes it", plain, reason.TokenMalformed, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "Bearer "+r.issuer.Token(r.now)+"!")
		}},

		{"cookie", cookies, reason.OK, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", "theme=dark; __Host-session="+r.issuer.Token(r.now))
		}},
		{"cookie, where none is configured", plain, reason.CredentialMissing, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", "__Host-session="+r.issuer.Token(r.now))
		}},
		{"CK02 header and cookie", cookies, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x", "authorization", "Bearer "+tok, "cookie", "__Host-session="+tok)
		}},
		{"a scheme that is not ours beside the cookie", cookies, reason.OK, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "Basic YTpi", "cookie", "__Host-session="+r.issuer.Token(r.now))
		}},
		{"CK04 a cookie twice in one field", cookies, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x", "cookie", "__Host-session="+tok+"; __Host-session="+tok)
		}},
		{"CK04 a cookie twice in two fields", cookies, reason.CredentialAmbiguous, func(r *rig) *extauthz.Request {
			tok := r.issuer.Token(r.now)
			return get("/x", "cookie", "__Host-session="+tok, "cookie", "__Host-session="+tok)
		}},
		{"CK05 a cookie's name in another case", cookies, reason.CredentialMissing, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", "__host-session="+r.issuer.Token(r.now))
		}},
		{"CK05 a quoted cookie", cookies, reason.CredentialMissing, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", `__Host-session="`+r.issuer.Token(r.now)+`"`)
		}},
		{"CK07 too many cookies", cookies, reason.RequestMalformed, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", strings.Repeat("a=b; ", 5000)+"__Host-session="+r.issuer.Token(r.now))
		}},
		{"a class for cookies only, a header", cookies2, reason.ClassUnknown, func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now)) }},
		{"a class for cookies only, a cookie", cookies2, reason.OK, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", "__Host-session="+r.issuer.Token(r.now))
		}},
		{"a token bound to a DPoP key in a cookie", cookies, reason.BindingMissing, func(r *rig) *extauthz.Request {
			return get("/x", "cookie", "__Host-session="+r.issuer.Token(r.now, extauthztest.DPoPBound(jkt)))
		}},

		{"no method", plain, reason.RequestMalformed, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Method = ""
			return req
		}},
		{"no host", plain, reason.RequestMalformed, func(r *rig) *extauthz.Request { req := bearer(r.issuer.Token(r.now)); req.Host = ""; return req }},
		{"another :authority", plain, reason.RequestMalformed, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Headers = append(req.Headers, extauthz.Header{Name: ":authority", Value: "evil.example"})
			return req
		}},
		{"another host header", plain, reason.RequestMalformed, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Headers = append(req.Headers, extauthz.Header{Name: "host", Value: "evil.example"})
			return req
		}},
		{"the same :authority with its port", plain, reason.OK, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Headers = append(req.Headers, extauthz.Header{Name: ":authority", Value: "API.example:443"})
			return req
		}},
		{"another :method", plain, reason.RequestMalformed, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Headers = append(req.Headers, extauthz.Header{Name: ":method", Value: "POST"})
			return req
		}},
		{"another :path", plain, reason.PathAmbiguous, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now))
			req.Headers = append(req.Headers, extauthz.Header{Name: ":path", Value: "/y"})
			return req
		}},
		{"x-envoy-original-path is never read", routes, reason.AuthTooOld, func(r *rig) *extauthz.Request {
			req := authenticated(400, "/transfer/1")(r)
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-envoy-original-path", Value: "/healthz"},
				extauthz.Header{Name: "x-original-url", Value: "/healthz"}, extauthz.Header{Name: "x-http-method-override", Value: "OPTIONS"})
			return req
		}},

		{"anonymous route", routes, reason.Anonymous, func(*rig) *extauthz.Request { return get("/healthz") }},
		{"anonymous route, bad token", routes, reason.Anonymous, func(*rig) *extauthz.Request { return get("/healthz?x=1", "authorization", "Bearer x") }},
		{"below the anonymous route", routes, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("/healthz/x") }},
		{"the anonymous path in the query", routes, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("/admin?x=/healthz") }},
		{"named route", routes, reason.AuthTooOld, func(r *rig) *extauthz.Request { req := authenticated(400, "/x")(r); req.Route = "pay"; return req }},
		{"named route wins over the path", routes, reason.AuthTooOld, func(r *rig) *extauthz.Request {
			req := authenticated(400, "/healthz")(r)
			req.Route = "pay"
			return req
		}},
		{"unknown named route", routes, reason.RouteUnknown, func(r *rig) *extauthz.Request { req := bearer(r.issuer.Token(r.now)); req.Route = "nope"; return req }},
		{"a name in another case is unknown", routes, reason.RouteUnknown, func(r *rig) *extauthz.Request { req := bearer(r.issuer.Token(r.now)); req.Route = "Pay"; return req }},
		{"fresh login at a transfer", routes, reason.OK, authenticated(10, "/transfer/1")},
		{"old login at a transfer", routes, reason.AuthTooOld, authenticated(301, "/transfer/1")},
		{"old login at the limit", routes, reason.OK, authenticated(300, "/transfer/1")},
		{"old login, escaped path", routes, reason.AuthTooOld, authenticated(301, "/%74ransfer/1")},
		{"old login elsewhere", routes, reason.OK, authenticated(301, "/x")},
		{"acr too weak", routes, reason.ACRInsufficient, authenticated(0, "/admin")},
		{"ambiguous path is refused", routes, reason.PathAmbiguous, authenticated(0, "/a/../admin")},
		{"ambiguous path, strictest: every path route's demands", strictest, reason.ACRInsufficient, authenticated(0, "/a/../healthz")},
		{"ambiguous path, strictest: never anonymous", strictest, reason.CredentialMissing, func(*rig) *extauthz.Request { return get("//healthz") }},

		{"bound token with its certificate", plain, reason.OK, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"bound token without a certificate", plain, reason.BindingMissing, claims(bound)},
		{"bound token, another certificate", plain, reason.BindingMismatch, func(r *rig) *extauthz.Request { return with(other.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"bound token, garbage certificate", plain, reason.BindingMismatch, func(r *rig) *extauthz.Request { return with("-----BEGIN", bearer(r.issuer.Token(r.now, bound))) }},
		{"bound token, two certificates", plain, reason.BindingMismatch, func(r *rig) *extauthz.Request {
			return with(mine.PEM+other.PEM, bearer(r.issuer.Token(r.now, bound)))
		}},
		{"XFCC is not read unless it is said", plain, reason.BindingMissing, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, bound))
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-client-cert", Value: "Cert=\"" + mine.PEM + "\""})
			return req
		}},
		{"xfcc: the last element's certificate", xfcc(0), reason.OK, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, bound))
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-client-cert", Value: `Cert="` + other.PEM + `",Cert="` + mine.PEM + `"`})
			return req
		}},
		{"xfcc: an earlier element is the client's", xfcc(0), reason.BindingMismatch, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, bound))
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-client-cert", Value: `Cert="` + mine.PEM + `",Cert="` + other.PEM + `"`})
			return req
		}},
		{"xfcc: an earlier field is the client's", xfcc(0), reason.BindingMismatch, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, bound))
			for _, cert := range []string{mine.PEM, other.PEM} {
				req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-client-cert", Value: `Cert="` + cert + `"`})
			}
			return req
		}},
		{"xfcc: the connection does not count", xfcc(0), reason.BindingMissing, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"xfcc: an open quote", xfcc(0), reason.BindingMismatch, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, bound))
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-client-cert", Value: `Cert="` + mine.PEM})
			return req
		}},
		{"spiffe: the peer is the subject", class(extauthz.Demand{Binding: proof.SPIFFE}), reason.OK, func(r *rig) *extauthz.Request {
			return with(mine.PEM, bearer(r.issuer.Token(r.now, extauthztest.Claims{"sub": "spiffe://cluster.local/ns/prod/sa/alice"})))
		}},
		{"spiffe: the peer is somebody else", class(extauthz.Demand{Binding: proof.SPIFFE}), reason.BindingMismatch, func(r *rig) *extauthz.Request {
			return with(other.PEM, bearer(r.issuer.Token(r.now, extauthztest.Claims{"sub": "spiffe://cluster.local/ns/prod/sa/alice"})))
		}},
		{"spiffe: no certificate", class(extauthz.Demand{Binding: proof.SPIFFE}), reason.BindingMissing, claims(extauthztest.Claims{"sub": "spiffe://cluster.local/ns/prod/sa/alice"})},
		{"spiffe: garbage for a certificate", class(extauthz.Demand{Binding: proof.SPIFFE}), reason.BindingMismatch, func(r *rig) *extauthz.Request {
			return with("x", bearer(r.issuer.Token(r.now, extauthztest.Claims{"sub": "spiffe://cluster.local/ns/prod/sa/alice"})))
		}},
		{"spiffe or mtls, bound by mtls", class(extauthz.Demand{Binding: proof.SPIFFE | proof.MTLS}), reason.OK, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"jkt as Bearer", plain, reason.BindingMissing, claims(extauthztest.Claims{"cnf": map[string]any{"jkt": jkt}})},
		{"jkt, DPoP scheme, no proof", plain, reason.DPoPMissing, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "DPoP "+r.issuer.Token(r.now, extauthztest.Claims{"cnf": map[string]any{"jkt": jkt}}))
		}},
		{"jkt, a proof that is none", plain, reason.DPoPInvalid, func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "DPoP "+r.issuer.Token(r.now, extauthztest.Claims{"cnf": map[string]any{"jkt": jkt}}), "dpop", "e30.e30.AA")
		}},
		{"jkt and x5t: both must hold", plain, reason.BindingMissing, func(r *rig) *extauthz.Request {
			return with(mine.PEM, bearer(r.issuer.Token(r.now, extauthztest.Claims{"cnf": map[string]any{"jkt": jkt, "x5t#S256": mine.X5T}})))
		}},
		{"DPoP scheme on an unbound token", plain, reason.BindingMismatch, func(r *rig) *extauthz.Request { return get("/x", "authorization", "DPoP "+r.issuer.Token(r.now)) }},
		{"empty cnf", plain, reason.BindingUnsupported, claims(extauthztest.Claims{"cnf": map[string]any{}})},
		{"cnf of another method", plain, reason.BindingUnsupported, claims(extauthztest.Claims{"cnf": map[string]any{"kid": "1"}})},
		{"class asks for mtls, token unbound", class(extauthz.Demand{Binding: proof.MTLS}), reason.BindingMissing, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now))) }},
		{"class asks for mtls, token bound", class(extauthz.Demand{Binding: proof.MTLS}), reason.OK, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"class asks for dpop or mtls", class(extauthz.Demand{Binding: proof.MTLS | proof.DPoP}), reason.OK, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},
		{"class asks for dpop", class(extauthz.Demand{Binding: proof.DPoP}), reason.BindingMissing, func(r *rig) *extauthz.Request { return with(mine.PEM, bearer(r.issuer.Token(r.now, bound))) }},

		{"no class fits", extauthz.Config{Classes: []extauthz.Class{{Name: "batch", Match: extauthz.ClassMatch{Clients: []string{"batch"}}}}}, reason.ClassUnknown, claims(nil)},
		{"class by client", extauthz.Config{Classes: []extauthz.Class{{Name: "c", Match: extauthz.ClassMatch{Clients: []string{"batch", extauthztest.Client}}}}}, reason.OK, claims(nil)},
		{"class by claim", extauthz.Config{Classes: []extauthz.Class{{Name: "c", Match: extauthz.ClassMatch{Claims: map[string][]string{"tier": {"gold"}}}}}}, reason.OK, claims(extauthztest.Claims{"tier": "gold"})},
		{"class by claim in a list", extauthz.Config{Classes: []extauthz.Class{{Name: "c", Match: extauthz.ClassMatch{Claims: map[string][]string{"groups": {"ops"}}}}}}, reason.OK, claims(extauthztest.Claims{"groups": []string{"dev", "ops"}})},
		{"class by a boolean claim", extauthz.Config{Classes: []extauthz.Class{{Name: "c", Match: extauthz.ClassMatch{Claims: map[string][]string{"managed": {"true"}}}}}}, reason.OK, claims(extauthztest.Claims{"managed": true})},
		{"class by claim, another value", extauthz.Config{Classes: []extauthz.Class{{Name: "c", Match: extauthz.ClassMatch{Claims: map[string][]string{"tier": {"gold"}}}}}}, reason.ClassUnknown, claims(extauthztest.Claims{"tier": "golden"})},

		{"lifetime at the limit", class(extauthz.Demand{MaxLifetime: 5 * time.Minute}), reason.OK, claims(nil)},
		{"lifetime over the limit", class(extauthz.Demand{MaxLifetime: 5*time.Minute - time.Second}), reason.LifetimeTooLong, claims(nil)},
		{"age at the limit", class(extauthz.Demand{MaxAge: time.Minute}), reason.OK, aged(60, nil)},
		{"age over the limit: skew does not count", class(extauthz.Demand{MaxAge: time.Minute}), reason.TokenTooOld, aged(61, nil)},
		{"absolute timeout by auth_time", class(extauthz.Demand{AbsoluteTimeout: time.Hour}), reason.SessionExpired, authenticated(3601, "/x")},
		{"absolute timeout survives a refresh", class(extauthz.Demand{AbsoluteTimeout: time.Hour}), reason.SessionExpired, func(r *rig) *extauthz.Request {
			return bearer(r.issuer.Token(r.now, extauthztest.Claims{"jti": "new", "auth_time": secondsAgo(r, 3601)}))
		}},
		{"absolute timeout at the limit", class(extauthz.Demand{AbsoluteTimeout: time.Hour}), reason.OK, authenticated(3600, "/x")},
		{"absolute timeout by iat", class(extauthz.Demand{AbsoluteTimeout: time.Minute}), reason.SessionExpired, aged(61, extauthztest.Claims{"auth_time": extauthztest.Absent})},
		{"absolute timeout, auth_time in the future", class(extauthz.Demand{AbsoluteTimeout: time.Hour}), reason.SessionExpired, authenticated(-3600, "/x")},
		{"step-up without auth_time", routes, reason.AuthTooOld, func(r *rig) *extauthz.Request {
			req := bearer(r.issuer.Token(r.now, extauthztest.Claims{"auth_time": extauthztest.Absent}))
			req.Path = "/transfer/1"
			return req
		}},
		{"step-up, auth_time in the future", routes, reason.AuthTooOld, authenticated(-3600, "/transfer/1")},
		{"acr missing", class(extauthz.Demand{ACR: []string{"aal2"}}), reason.ACRInsufficient, claims(extauthztest.Claims{"acr": extauthztest.Absent})},
		{"acr in another case", class(extauthz.Demand{ACR: []string{"AAL2"}}), reason.ACRInsufficient, claims(nil)},
		{"acr one of", class(extauthz.Demand{ACR: []string{"aal3", "aal2"}}), reason.OK, claims(nil)},
		{"scope there", class(extauthz.Demand{Scopes: []string{"write", "read"}}), reason.OK, claims(nil)},
		{"scope missing", class(extauthz.Demand{Scopes: []string{"read", "admin"}}), reason.ScopeInsufficient, claims(nil)},
		{"scope as a prefix", class(extauthz.Demand{Scopes: []string{"admin"}}), reason.ScopeInsufficient, claims(extauthztest.Claims{"scope": "administrator"})},
		{"scope separated by a tab", class(extauthz.Demand{Scopes: []string{"admin"}}), reason.ScopeInsufficient, claims(extauthztest.Claims{"scope": "read\tadmin"})},

		{"order: signature before class", extauthz.Config{Classes: []extauthz.Class{{Name: "b", Match: extauthz.ClassMatch{Clients: []string{"b"}}}}}, reason.SignatureInvalid, func(r *rig) *extauthz.Request { return bearer(extauthztest.Forge(r.issuer.Token(r.now))) }},
		{"order: expired before binding", plain, reason.TokenExpired, func(r *rig) *extauthz.Request {
			return bearer(r.issuer.Token(r.now.Add(-time.Hour), bound))
		}},
		{"order: binding before freshness", class(extauthz.Demand{MaxAge: time.Second}), reason.BindingMissing, aged(60, bound)},
		{"order: freshness before step-up", class(extauthz.Demand{MaxAge: time.Second, ACR: []string{"aal9"}}), reason.TokenTooOld, aged(60, nil)},
		{"order: step-up before scope", class(extauthz.Demand{ACR: []string{"aal9"}, Scopes: []string{"nope"}}), reason.ACRInsufficient, claims(nil)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.policy)
			d, res := r.answer(tc.req(r))
			if d.Reason != tc.want {
				t.Fatalf("reason %v (%s), want %v", d.Reason, d.Detail, tc.want)
			}
			if (res.Verdict == reason.Allow) != (tc.want.Verdict() == reason.Allow) {
				t.Errorf("answer %v for %v", res.Verdict, d.Reason)
			}
			if (res.Code == 0) != (res.Verdict == reason.Allow) {
				t.Errorf("status.code %d with %v", res.Code, res.Verdict)
			}
		})
	}
}

const jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

func TestRevoked(t *testing.T) {
	login := extauthztest.Claims{"jti": "j1", "sid": "s1", "tenant": "acme", "device_id": "d1"}
	for _, tc := range []struct {
		kind  cache.Kinds
		value string
		want  reason.Reason
	}{
		{cache.Token, "j1", reason.TokenRevoked},
		{cache.Session, "s1", reason.SessionRevoked},
		{cache.User, extauthztest.Subject, reason.SubjectRevoked},
		{cache.Client, extauthztest.Client, reason.ClientRevoked},
		{cache.Issuer, idp, reason.IssuerRevoked},
	} {
		t.Run(tc.kind.String(), func(t *testing.T) {
			r := newRig(t, extauthz.Config{})
			tok := r.issuer.Token(r.now, login)
			if d, _ := r.answer(bearer(tok)); d.Reason != reason.OK {
				t.Fatalf("before: %v", d.Reason)
			}
			r.revoke(tc.kind, tc.value, r.now)
			d, res := r.answer(bearer(tok))
			if d.Reason != tc.want || d.Revoked.Kind != tc.kind || res.Status != 401 {
				t.Errorf("after: %v %v %d", d.Reason, d.Revoked, res.Status)
			}
			// A new login has another sid and a later auth_time.
			later := r.issuer.Token(r.now, extauthztest.Claims{"jti": "j2", "sid": "s2", "iat": r.now.Unix() + 1, "auth_time": r.now.Unix() + 1})
			if d, _ := r.answer(bearer(later)); d.Reason != reason.OK {
				t.Errorf("a later login: %v", d.Reason)
			}
			// A refresh has a later iat and the old auth_time.
			refreshed := r.issuer.Token(r.now, login, extauthztest.Claims{"jti": "j3", "iat": r.now.Unix() + 1})
			want := tc.want
			if tc.kind == cache.Token {
				want = reason.OK
			}
			if d, _ := r.answer(bearer(refreshed)); d.Reason != want {
				t.Errorf("a refreshed token: %v, want %v", d.Reason, want)
			}
		})
	}
}

// signingInputHash is the token_hash of a JWT: base64url SHA-256 of header.payload.
func signingInputHash(tok string) string {
	sum := sha256.Sum256([]byte(tok[:strings.LastIndexByte(tok, '.')]))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestRefreshKeepsTheSession: where tokens name no auth_time a session is as
// old as the first of them, by sid or by subject and client.
func TestRefreshKeepsTheSession(t *testing.T) {
	for name, sid := range map[string]any{"by sid": "s1", "by subject and client": extauthztest.Absent} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{AbsoluteTimeout: time.Minute}}}})
			ask := func(more extauthztest.Claims, want reason.Reason) {
				t.Helper()
				tok := r.issuer.Token(r.now, extauthztest.Claims{"sid": sid, "auth_time": extauthztest.Absent}, more)
				if d, _ := r.answer(bearer(tok)); d.Reason != want {
					t.Errorf("%v, want %v", d.Reason, want)
				}
			}
			ask(nil, reason.OK)
			r.now = r.now.Add(time.Minute)
			r.Sync.Advance(2, r.now)
			ask(nil, reason.OK) // refreshed: another jti, a new iat
			r.now = r.now.Add(time.Second)
			ask(nil, reason.SessionExpired)
			ask(extauthztest.Claims{"sub": "somebody else", "sid": "s9"}, reason.OK)
			ask(extauthztest.Claims{"auth_time": r.now.Unix()}, reason.OK) // it says so itself
		})
	}
}

func TestRevokedTwin(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	tok := r.issuer.Token(r.now, extauthztest.Claims{"jti": extauthztest.Absent})
	r.revoke(cache.TokenHash, signingInputHash(tok), r.now)
	for name, text := range map[string]string{"itself": tok, "its other signature": extauthztest.Twin(tok)} {
		if d, _ := r.answer(bearer(text)); d.Reason != reason.TokenRevoked {
			t.Errorf("%s: %v", name, d.Reason)
		}
	}
}

func TestFeedHealth(t *testing.T) {
	silent := func(r *rig) { r.Sync.Advance(2, r.now.Add(-11*time.Second)) }
	unready := func(r *rig) { *r.Sync = cache.Sync{} }
	broken := func(r *rig) { r.Sync.Break("gap") }
	for _, tc := range []struct {
		name    string
		stale   extauthz.OnFeedStale
		do      func(*rig)
		want    reason.Reason
		verdict reason.Verdict
	}{
		{"silent, default", extauthz.StaleInherit, silent, reason.FeedStale, reason.Unable},
		{"silent, error", extauthz.StaleError, silent, reason.FeedStale, reason.Unable},
		{"silent, deny", extauthz.StaleDeny, silent, reason.FeedStale, reason.Deny},
		{"silent, allow", extauthz.StaleAllow, silent, reason.OK, reason.Allow},
		{"not ready, default", extauthz.StaleInherit, unready, reason.NotReady, reason.Unable},
		{"not ready, deny", extauthz.StaleDeny, unready, reason.NotReady, reason.Deny},
		{"broken, default", extauthz.StaleInherit, broken, reason.FeedStale, reason.Unable},
		{"broken, deny", extauthz.StaleDeny, broken, reason.FeedStale, reason.Deny},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{OnFeedStale: tc.stale}}}})
			tc.do(r)
			d, res := r.answer(bearer(r.issuer.Token(r.now)))
			if d.Reason != tc.want || res.Verdict != tc.verdict {
				t.Errorf("%v, answered %v", d.Reason, res.Verdict)
			}
			if res.Verdict != reason.Allow && (res.Status != 503 || res.Code != 14) {
				t.Errorf("status %d, code %d", res.Status, res.Code)
			}
			// What is known to be withdrawn is denied whatever the feed's health.
			r.revoke(cache.User, extauthztest.Subject, r.now)
			if d, res := r.answer(bearer(r.issuer.Token(r.now))); d.Reason != reason.SubjectRevoked || res.Verdict != reason.Deny {
				t.Errorf("revoked: %v, answered %v", d.Reason, res.Verdict)
			}
		})
	}
}

func TestMonitorAllowsAndSays(t *testing.T) {
	r := newRig(t, extauthz.Config{Mode: extauthz.ModeMonitor})
	req := get("/x", "authorization", "Bearer x.y.z", "x-holdfast-subject", "root")
	d, res := r.answer(req)
	if res.Verdict != reason.Allow || res.Metadata.Decision != reason.Deny || res.Metadata.Enforced || d.Reason != reason.TokenMalformed {
		t.Errorf("answer %v, metadata %+v", res.Verdict, res.Metadata)
	}
	if len(res.SetHeaders) != 0 || !strings.Contains(strings.Join(res.RemoveHeaders, " "), "x-holdfast-subject") {
		t.Errorf("set %v, removed %v: nobody vouches for this session", res.SetHeaders, res.RemoveHeaders)
	}
}

// TestMonitorVouchesForNobody: a session that enforce would refuse is told to
// no upstream, though its token is good.
func TestMonitorVouchesForNobody(t *testing.T) {
	r := newRig(t, extauthz.Config{Mode: extauthz.ModeMonitor, Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{MaxAge: time.Second}}}})
	d, res := r.answer(bearer(r.issuer.Token(r.now.Add(-time.Minute))))
	if d.Reason != reason.TokenTooOld || d.Session.Sub == "" || res.Verdict != reason.Allow || len(res.SetHeaders) != 0 {
		t.Errorf("%v, answered %v, set %v", d.Reason, res.Verdict, res.SetHeaders)
	}
}

// TestUnreadIsRefused: what was not read is not let through in monitor mode
// either: its identity headers could not be taken out.
func TestUnreadIsRefused(t *testing.T) {
	r := newRig(t, extauthz.Config{Mode: extauthz.ModeMonitor})
	for _, why := range []reason.Reason{reason.RequestMalformed, reason.Overloaded, reason.Internal} {
		d, res := &extauthz.Decision{}, &extauthz.Response{}
		r.Refuse(why, d)
		d.Respond(&extauthz.Request{}, res)
		if res.Verdict == reason.Allow || res.Code == 0 || d.Reason != why {
			t.Errorf("%v: answered %v", why, res.Verdict)
		}
	}
}

// TestCutOffIsNotPassed by an auth_time that nobody can have logged in at.
func TestCutOffIsNotPassed(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	r.revoke(cache.User, extauthztest.Subject, r.now)
	for _, ahead := range []int64{1, 20, 290, 86400} {
		tok := r.issuer.Token(r.now, extauthztest.Claims{"auth_time": r.now.Unix() + ahead})
		if d, _ := r.answer(bearer(tok)); d.Reason != reason.SubjectRevoked {
			t.Errorf("auth_time %d s after iat: %v", ahead, d.Reason)
		}
	}
}

func TestClockStepsBack(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	tok := r.issuer.Token(r.now.Add(-10 * time.Minute))
	if d, _ := r.answer(bearer(tok)); d.Reason != reason.TokenExpired {
		t.Fatalf("before: %v", d.Reason)
	}
	r.now = r.now.Add(-time.Hour)
	if d, _ := r.answer(bearer(tok)); d.Reason != reason.TokenExpired {
		t.Errorf("an hour back: %v", d.Reason)
	}
}

func TestZeroDecisionDenies(t *testing.T) {
	var d extauthz.Decision
	if d.Verdict == reason.Allow || d.Reason.Verdict() == reason.Allow {
		t.Error("the zero decision allows")
	}
}
