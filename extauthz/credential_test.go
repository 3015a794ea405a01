package extauthz

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// Bits of a fuzzed request: which of its fields there are.
const (
	hasFirst  = 1 << iota // authorization: first
	hasSecond             // AUTHORIZATION: second
	hasCookie             // cookie: cookie
	hasKey                // x-api-key: key
	hasTwin               // x_authorization and authorization2: first
)

func credentialRequest(first, second, cookie, key string, fields uint8) *Request {
	req := &Request{Method: "GET", Path: "/", Host: "api.example", Headers: []Header{{":method", "GET"}, {"accept", first}}}
	for _, h := range []struct {
		bit         uint8
		name, value string
	}{
		{hasTwin, "x_authorization", first}, {hasFirst, "authorization", first}, {hasCookie, "cookie", cookie},
		{hasSecond, "AUTHORIZATION", second}, {hasTwin, "authorization2", first}, {hasKey, "X-Api-Key", key},
	} {
		if fields&h.bit != 0 {
			req.Headers = append(req.Headers, Header{h.name, h.value})
		}
	}
	return req
}

// slowAuthorization is fromAuthorization by the words of RFC 6750, 2.1.
func slowAuthorization(req *Request) (scheme, token string, r reason.Reason) {
	var values []string
	for _, h := range req.Headers {
		if strings.ToLower(h.Name) == "authorization" {
			values = append(values, strings.Split(h.Value, ",")...)
		}
	}
	switch {
	case len(values) > 1:
		return "", "", reason.CredentialAmbiguous
	case len(values) == 0:
		return "", "", reason.CredentialMissing
	}
	words := strings.FieldsFunc(values[0], func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) == 0 || !strings.HasPrefix(values[0], words[0]) { // a blank in front: no scheme
		return "", "", reason.CredentialMissing
	}
	scheme = strings.ToLower(words[0])
	if scheme != "bearer" && scheme != "dpop" {
		return "", "", reason.CredentialMissing
	}
	token, one := strings.CutPrefix(values[0][len(scheme):], " ")
	if !one || token == "" {
		return scheme, "", reason.TokenMalformed
	}
	return scheme, token, reason.OK
}

// verifierOf knows no keys, and hands introspect what is no JWT.
func verifierOf(tb testing.TB, introspect func(string)) *token.Verifier {
	v, err := token.New(token.Config{
		Issuers: []token.Issuer{{Name: "https://opaque.example", Audiences: []string{"a"}, Opaque: true}}, Keys: noKeys{},
		Opaque: token.Opaque{Issuer: "https://opaque.example", Introspect: func(text string) (*jose.Object, reason.Reason) {
			introspect(text)
			return nil, reason.KeysUnavailable
		}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

type noKeys struct{}

func (noKeys) KeySet(string) (*jose.KeySet, bool) { return nil, false }
func (noKeys) Wanted(string)                      {}

// FuzzAuthorization holds the search for a credential to a slow one and to
// what must be true of every request: one credential at most, whatever else is
// sent and in which order, and no blank, comma or control byte in a token that
// anybody is asked about.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []struct {
		first, second, cookie, key string
		fields                     uint8
	}{
		{"Bearer a.b.c", "", "", "", hasFirst},
		{"dPoP a.b.c", "", "", "", hasFirst | hasTwin},
		{"Bearer a", "Bearer a", "", "", hasFirst | hasSecond},
		{"Bearer a,DPoP a", "", "", "", hasFirst},
		{"Basic YTpi", "Bearer a", "", "", hasFirst | hasSecond},
		{"Bearer\ta", "", "", "", hasFirst},
		{"Bearer  a", "", "s=a", "k", hasFirst},
		{"", "", "s=a", "k", hasFirst | hasCookie | hasKey},
		{"Basic YTpi", "", "s=a", "", hasFirst | hasCookie},
		{"Bearer a", "", "s=a; s=a", "a,b", hasFirst | hasCookie | hasKey},
	} {
		f.Add(seed.first, seed.second, seed.cookie, seed.key, seed.fields)
	}
	p := &Policy{carriers: []Carrier{{Kind: CredentialHeader}, {Kind: CredentialCookie, Name: "s"}, {Kind: CredentialAPIKey, Name: "x-api-key"}}}
	asked := ""
	tokens := verifierOf(f, func(text string) { asked = text })
	f.Fuzz(func(t *testing.T, first, second, cookie, key string, fields uint8) {
		req := credentialRequest(first, second, cookie, key, fields)
		scheme, want, wantReason := slowAuthorization(req)
		c, r := fromAuthorization(req)
		if r != wantReason || r == reason.OK && (c.token != want || c.dpop != (scheme == "dpop") || c.kind != CredentialHeader) {
			t.Fatalf("%+v, %v; want %q %q, %v", c, r, scheme, want, wantReason)
		}
		if fields&hasFirst != 0 && fields&hasSecond != 0 && r != reason.CredentialAmbiguous {
			t.Errorf("two fields: %v", r)
		}

		found, r := p.findCredential(req)
		_, fromC := fromCookie(req, "s")
		_, fromK := fromHeader(req, "x-api-key")
		there, bad := 0, reason.OK
		for _, one := range []reason.Reason{wantReason, fromC, fromK} {
			switch {
			case one == reason.OK:
				there++
			case one != reason.CredentialMissing && bad == reason.OK:
				bad = one
			}
		}
		switch {
		case r == reason.OK && (there != 1 || bad != reason.OK || found.token == "" || strings.Contains(found.token, ",")):
			t.Errorf("%+v, of %d and %v", found, there, bad)
		case r == reason.CredentialMissing && (there != 0 || bad != reason.OK):
			t.Errorf("missing, of %d and %v", there, bad)
		case there > 1 && bad == reason.OK && r != reason.CredentialAmbiguous:
			t.Errorf("%d credentials: %v", there, r)
		case r != reason.OK && (r.Verdict() != reason.Deny || r.Status() != 401 && r.Status() != 400):
			t.Errorf("%v", r)
		}

		// The order of fields, and fields of other names, say nothing.
		turned := &Request{Headers: slices.Clone(req.Headers)}
		slices.Reverse(turned.Headers)
		turned.Headers = append(turned.Headers, Header{"proxy-authorization", "Bearer x"}, Header{"x-cookie", "s=x"})
		if again, r2 := p.findCredential(turned); again != found || r2 != r {
			t.Errorf("turned round: %+v, %v; before: %+v, %v", again, r2, found, r)
		}

		if r != reason.OK {
			return
		}
		asked = ""
		var s token.Session
		if r := tokens.Verify(found.token, time.Unix(1_800_000_000, 0), &s); r.Verdict() == reason.Allow {
			t.Errorf("%q is let through", found.token)
		}
		if strings.ContainsFunc(asked, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ',' || c == '"' || c == '&' || c == '%' }) {
			t.Errorf("the issuer is asked about %q", asked)
		}
	})
}
