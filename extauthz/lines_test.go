package extauthz_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// The tests of this file hold lines of STANDARDS.md that no other one does.

// challengeGrammar is RFC 9110, 11.6.1, as far as we write it: a scheme, then
// parameters as tokens or in quotes without escapes (RFC 6750, 3 and 3.1).
var challengeGrammar = regexp.MustCompile(`^(Bearer|DPoP)( [a-z_]+=("[\x20\x21\x23-\x5b\x5d-\x7e]*"|[0-9]+)(, [a-z_]+=("[\x20\x21\x23-\x5b\x5d-\x7e]*"|[0-9]+))*)?$`)

// TestChallengeGrammar: whatever a request says, no word of it comes back, and
// each parameter stands once.
func TestChallengeGrammar(t *testing.T) {
	const mark = "hostile"
	evil := mark + "\"\r\nset-cookie: a=b, Bearer error=\"x\\"
	demand := extauthz.Demand{ACR: []string{"aal3"}, MaxAuthAge: time.Second, Scopes: []string{"admin"}, Binding: proof.DPoP | proof.MTLS}
	for name, request := range map[string]func(*rig) *extauthz.Request{
		"in the scheme": func(*rig) *extauthz.Request { return get("/x", "authorization", evil+" x") },
		"in the token":  func(*rig) *extauthz.Request { return get("/x", "authorization", "Bearer "+evil) },
		"two tokens":    func(*rig) *extauthz.Request { return get("/x", "authorization", "Bearer a, DPoP "+evil) },
		"in the kid":    func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now, extauthztest.Header{"kid": evil})) },
		"in the claims": func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now, extauthztest.Claims{"iss": evil})) },
		"in the scope": func(r *rig) *extauthz.Request {
			return bearer(r.issuer.Token(r.now, extauthztest.Claims{"scope": evil}))
		},
		"in the acr":    func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now, extauthztest.Claims{"acr": evil})) },
		"in the path":   func(*rig) *extauthz.Request { return get("/" + evil) },
		"in the host":   func(*rig) *extauthz.Request { req := get("/x"); req.Host = evil; return req },
		"in the method": func(*rig) *extauthz.Request { req := get("/x"); req.Method = evil; return req },
		"in the proof": func(r *rig) *extauthz.Request {
			return get("/x", "authorization", "DPoP "+r.issuer.Token(r.now, extauthztest.DPoPBound(jkt)), "dpop", evil)
		},
		"in the cookies": func(*rig) *extauthz.Request { return get("/x", "cookie", evil) },
		"nothing at all": func(*rig) *extauthz.Request { return get("/x") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: demand}}})
			_, res := r.answer(request(r))
			if res.Verdict == reason.Allow {
				t.Fatal("let through")
			}
			for _, c := range challenges(res) {
				if !challengeGrammar.MatchString(c) {
					t.Errorf("no challenge: %q", c)
				}
				for _, param := range regexp.MustCompile(`[a-z_]+=`).FindAllString(c, -1) {
					if strings.Count(c, " "+param) != 1 {
						t.Errorf("%s twice in %q", param, c)
					}
				}
			}
			for _, h := range append(res.SetHeaders, extauthz.Header{Name: "body", Value: res.Body}) {
				if strings.Contains(h.Value, mark) || strings.ContainsAny(h.Value, "\r\n") {
					t.Errorf("%s: %q", h.Name, h.Value)
				}
			}
		})
	}
}

// TestStepUpIsForTheKnown: what a route asks of a login is told to nobody whose
// token does not hold (RFC 9470, 9).
func TestStepUpIsForTheKnown(t *testing.T) {
	old := extauthztest.Claims{"auth_time": 1, "acr": "aal1"}
	for name, tc := range map[string]struct {
		request func(*rig) *extauthz.Request
		want    reason.Reason
	}{
		"nothing sent":     {func(*rig) *extauthz.Request { return get("/x") }, reason.CredentialMissing},
		"forged":           {func(r *rig) *extauthz.Request { return bearer(extauthztest.Forge(r.issuer.Token(r.now, old))) }, reason.SignatureInvalid},
		"expired":          {func(r *rig) *extauthz.Request { return bearer(r.issuer.Token(r.now.Add(-time.Hour), old)) }, reason.TokenExpired},
		"another audience": {claims(extauthztest.Claims{"auth_time": 1, "aud": "x"}), reason.AudienceMismatch},
		"stolen":           {claims(extauthztest.Claims{"auth_time": 1, "cnf": map[string]any{"x5t#S256": jkt}}), reason.BindingMissing},
		"revoked": {func(r *rig) *extauthz.Request {
			r.revoke(cache.User, extauthztest.Subject, r.now)
			return bearer(r.issuer.Token(r.now, old))
		}, reason.SubjectRevoked},
		"good, and old": {claims(old), reason.AuthTooOld},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{Routes: []extauthz.Route{{Name: "pay", Match: []extauthz.RouteMatch{{}}, Demand: extauthz.Demand{MaxAuthAge: time.Minute, ACR: []string{"aal3"}}}}})
			d, res := r.answer(tc.request(r))
			if d.Reason != tc.want {
				t.Fatalf("%v, want %v", d.Reason, tc.want)
			}
			told := strings.Contains(strings.Join(challenges(res), ""), "max_age") || strings.Contains(strings.Join(challenges(res), ""), "acr_values")
			if told != (tc.want == reason.AuthTooOld) {
				t.Errorf("%v", challenges(res))
			}
			if res.Status != 401 {
				t.Errorf("status %d", res.Status)
			}
		})
	}
}

// TestStepUpIntrospected: acr, auth_time and scope of an opaque token are those
// that its issuer names (RFC 9470, 6.2), and missing ones are not met.
func TestStepUpIntrospected(t *testing.T) {
	const now = 1_800_000_000
	body := []byte(`{"active":true,"sub":"u","aud":"a","exp":1800000300,"iat":1799999990}`)
	for name, tc := range map[string]struct {
		more   string
		demand extauthz.Demand
		want   reason.Reason
	}{
		"fresh":        {`{"auth_time":1799999950}`, extauthz.Demand{MaxAuthAge: time.Minute}, reason.OK},
		"old":          {`{"auth_time":1799999930}`, extauthz.Demand{MaxAuthAge: time.Minute}, reason.AuthTooOld},
		"no auth_time": {`{}`, extauthz.Demand{MaxAuthAge: time.Minute}, reason.AuthTooOld},
		"acr":          {`{"acr":"aal2"}`, extauthz.Demand{ACR: []string{"aal3", "aal2"}}, reason.OK},
		"no acr":       {`{}`, extauthz.Demand{ACR: []string{"aal2"}}, reason.ACRInsufficient},
		"scope":        {`{"scope":"read write"}`, extauthz.Demand{Scopes: []string{"write"}}, reason.OK},
		"no scope":     {`{}`, extauthz.Demand{Scopes: []string{"write"}}, reason.ScopeInsufficient},
	} {
		t.Run(name, func(t *testing.T) {
			r := rigAt(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: tc.demand}}}, idp, "a", now, says(t, merged(t, body, tc.more)))
			if d, _ := r.answer(bearer("opaque")); d.Reason != tc.want {
				t.Errorf("%v, want %v", d.Reason, tc.want)
			}
		})
	}
}

// TestCannotDecide: keys that were never loaded and an issuer that can not be
// asked let nobody in, and throw nobody out either: no 401, no challenge.
func TestCannotDecide(t *testing.T) {
	unloaded := newRig(t, extauthz.Config{})
	var err error
	if unloaded.Tokens, err = token.New(token.Config{Issuers: []token.Issuer{{Name: idp, Audiences: []string{extauthztest.Audience}}}, Keys: keys{}}); err != nil {
		t.Fatal(err)
	}
	asked := rigAt(t, extauthz.Config{}, idp, "a", 1_800_000_000, func(string) (*jose.Object, reason.Reason) { return nil, reason.KeysUnavailable })
	for name, tc := range map[string]struct {
		r   *rig
		tok string
	}{"no keys": {unloaded, unloaded.issuer.Token(unloaded.now)}, "no answer": {asked, "opaque"}} {
		d, res := tc.r.answer(bearer(tc.tok))
		if d.Reason != reason.KeysUnavailable || res.Verdict != reason.Unable || res.Status != 503 || len(challenges(res)) != 0 {
			t.Errorf("%s: %v, answered %v %d %v", name, d.Reason, res.Verdict, res.Status, challenges(res))
		}
		if diff := cmp.Diff([]string{"1"}, headerOf(res, "retry-after")); diff != "" {
			t.Errorf("%s: retry-after %s", name, diff)
		}
	}
}

// TestSubIsNotClient: a user whose sub is a client's id is not that client
// (RFC 9068, 5): withdrawing one does not touch the other.
func TestSubIsNotClient(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	user := r.issuer.Token(r.now, extauthztest.Claims{"sub": "batch", "client_id": "web"})
	machine := r.issuer.Token(r.now, extauthztest.Claims{"sub": "machine", "client_id": "batch", "sid": "s2"})
	r.revoke(cache.Client, "batch", r.now)
	for tok, want := range map[string]reason.Reason{user: reason.OK, machine: reason.ClientRevoked} {
		if d, _ := r.answer(bearer(tok)); d.Reason != want {
			t.Errorf("%v, want %v", d.Reason, want)
		}
	}
}

// TestNonceDance: the answer to a proof without our nonce brings one, and with
// it the client is let in, as often as it likes while the nonce lives; leaving
// the nonce out fails again (RFC 9449, 9 and 11.3).
func TestNonceDance(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	r.Nonces = &proof.Nonces{}
	r.Nonces.SetKeys(proof.NonceKey{Key: [32]byte{1}, Start: r.now.Add(-time.Hour)}, proof.NonceKey{})
	var err error
	if r.DPoP, err = proof.NewDPoP(proof.DPoPConfig{NonceRequired: true}); err != nil {
		t.Fatal(err)
	}
	alice := extauthztest.NewProver(t, "ES256")
	tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
	ask := func(nonce any) (*extauthz.Decision, *extauthz.Response) {
		return r.answer(get("/x", "authorization", "DPoP "+tok, "dpop", alice.Proof("GET", dpopURL, tok, r.now, extauthztest.Claims{"nonce": nonce})))
	}
	d, res := ask(extauthztest.Absent)
	fresh := headerOf(res, "dpop-nonce")
	if d.Reason != reason.DPoPNonceRequired || res.Status != 401 || len(fresh) != 1 || fresh[0] == "" {
		t.Fatalf("%v, %d, nonce %q", d.Reason, res.Status, fresh)
	}
	if diff := cmp.Diff([]string{"no-store"}, headerOf(res, "cache-control")); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if d, res := ask(fresh[0]); d.Reason != reason.OK || len(headerOf(res, "dpop-nonce")) != 0 {
			t.Errorf("with the nonce: %v", d.Reason)
		}
	}
	for _, bad := range []any{extauthztest.Absent, "", fresh[0] + "x", strings.ToUpper(fresh[0])} {
		if d, _ := ask(bad); d.Reason != reason.DPoPNonceRequired {
			t.Errorf("with %v: %v", bad, d.Reason)
		}
	}
}

// TestProofsFailAlike: the client is not told which check of its proof failed.
func TestProofsFailAlike(t *testing.T) {
	alice := extauthztest.NewProver(t, "ES256")
	answers := map[string]string{}
	for name, change := range map[string]func(r *rig, tok string, req *extauthz.Request){
		"another method": func(_ *rig, _ string, req *extauthz.Request) { req.Method = "POST" },
		"another path":   func(_ *rig, _ string, req *extauthz.Request) { req.Path = "/y" },
		"another host":   func(_ *rig, _ string, req *extauthz.Request) { req.Host = "www.example" },
		"too old": func(r *rig, tok string, req *extauthz.Request) {
			req.Headers[1].Value = alice.Proof("GET", dpopURL, tok, r.now.Add(-time.Hour))
		},
		"too far ahead": func(r *rig, tok string, req *extauthz.Request) {
			req.Headers[1].Value = alice.Proof("GET", dpopURL, tok, r.now.Add(time.Hour))
		},
		"for no token": func(r *rig, _ string, req *extauthz.Request) {
			req.Headers[1].Value = alice.Proof("GET", dpopURL, "", r.now)
		},
		"forged": func(_ *rig, _ string, req *extauthz.Request) {
			req.Headers[1].Value = extauthztest.Forge(req.Headers[1].Value)
		},
		"no proof": func(_ *rig, _ string, req *extauthz.Request) { req.Headers = req.Headers[:1] },
		"two":      func(_ *rig, _ string, req *extauthz.Request) { req.Headers = append(req.Headers, req.Headers[1]) },
		"used":     func(r *rig, _ string, req *extauthz.Request) { r.answer(req) },
		"of another token": func(r *rig, _ string, req *extauthz.Request) {
			req.Headers[0].Value = "DPoP " + r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
		},
	} {
		r := newRig(t, extauthz.Config{})
		tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
		req := get("/x", "authorization", "DPoP "+tok, "dpop", alice.Proof("GET", dpopURL, tok, r.now))
		change(r, tok, req)
		d, res := r.answer(req)
		if d.Reason.Code() != reason.CodeInvalidDPoPProof {
			t.Errorf("%s: %v", name, d.Reason)
		}
		answers[strings.Join(append(challenges(res), res.Body), " ")] = name
	}
	if len(answers) != 1 {
		t.Errorf("%d answers: %v", len(answers), answers)
	}
}

// TestProofBesideBearer: a proof that nothing asks for changes nothing, and is
// not looked at.
func TestProofBesideBearer(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	req := bearer(r.issuer.Token(r.now))
	req.Headers = append(req.Headers, extauthz.Header{Name: "dpop", Value: "garbage"}, extauthz.Header{Name: "dpop", Value: "more"})
	if d, _ := r.answer(req); d.Reason != reason.OK {
		t.Errorf("%v", d.Reason)
	}
}

// TestRememberedAnswer: what an issuer said of an opaque token spares the next
// question and nothing else: a revocation denies in the very next check, and a
// login grows old.
func TestRememberedAnswer(t *testing.T) {
	const opaque = "2YotnFZFEjr1zCsicMWpAA"
	for name, change := range map[string]func(r *rig) reason.Reason{
		"nothing": func(*rig) reason.Reason { return reason.OK },
		"subject": func(r *rig) reason.Reason { r.revoke(cache.User, "u", r.now); return reason.SubjectRevoked },
		"itself": func(r *rig) reason.Reason {
			r.revoke(cache.TokenHash, signingInputHash(opaque+"."), r.now)
			return reason.TokenRevoked
		},
		"old login": func(r *rig) reason.Reason { r.now = r.now.Add(6 * time.Second); return reason.AuthTooOld },
		"expired":   func(r *rig) reason.Reason { r.now = r.now.Add(8 * time.Second); return reason.TokenExpired },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{MaxAuthAge: 65 * time.Second}}}})
			remember, err := memo.New(memo.Config{TTL: time.Hour, MaxMB: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(remember.Close)
			body := fmt.Sprintf(`{"active":true,"sub":"u","aud":"a","exp":%d,"iat":%d,"auth_time":%d}`, r.now.Unix()+8, r.now.Unix()-60, r.now.Unix()-60)
			r.Tokens, err = token.New(token.Config{
				Issuers: []token.Issuer{{Name: idp, Audiences: []string{"a"}, Opaque: true}}, Keys: keys{}, Classify: r.Policy.Classify, Good: remember,
				Opaque: token.Opaque{Issuer: idp, MaxAge: 10 * time.Second, Introspect: func(text string) (*jose.Object, reason.Reason) {
					asked++
					return says(t, []byte(body))(text)
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if d, _ := r.answer(bearer(opaque)); d.Reason != reason.OK {
				t.Fatalf("before: %v", d.Reason)
			}
			want := change(r)
			r.Sync.Advance(2, r.now)
			if d, _ := r.answer(bearer(opaque)); d.Reason != want || asked != 1 {
				t.Errorf("%v after %d questions, want %v", d.Reason, asked, want)
			}
		})
	}
}
