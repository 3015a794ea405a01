package extauthz_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const dpopURL = "https://api.example/x"

// TestDPoP holds the whole check to contract §6 and the DP cases of security.md;
// the proof alone is held to RFC 9449 in package proof.
func TestDPoP(t *testing.T) {
	alice, mallory := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "EdDSA")
	cert := extauthztest.NewCertificate(t, "alice")
	bound := extauthztest.DPoPBound(alice.JKT)
	both := extauthztest.Claims{"cnf": map[string]any{"jkt": alice.JKT, "x5t#S256": cert.X5T}}
	for _, tc := range []struct {
		name   string
		policy extauthz.Demand
		cnf    extauthztest.Claims
		by     *extauthztest.Prover
		change func(r *rig, tok, proof string, req *extauthz.Request)
		want   reason.Reason
	}{
		{"a proof by its key", extauthz.Demand{}, bound, alice, nil, reason.OK},
		{"the class asks for dpop", extauthz.Demand{Binding: proof.DPoP}, bound, alice, nil, reason.OK},
		{"the class asks for mtls", extauthz.Demand{Binding: proof.MTLS}, bound, alice, nil, reason.BindingMissing},
		{"DP01 as Bearer", extauthz.Demand{}, bound, alice, func(_ *rig, tok, _ string, req *extauthz.Request) {
			req.Headers[0].Value = "Bearer " + tok
		}, reason.BindingMissing},
		{"DP01 no proof", extauthz.Demand{}, bound, alice, func(_ *rig, _, _ string, req *extauthz.Request) { req.Headers = req.Headers[:1] }, reason.DPoPMissing},
		{"DP03 a valid proof by another key", extauthz.Demand{}, bound, mallory, nil, reason.BindingMismatch},
		{"DP04 another method", extauthz.Demand{}, bound, alice, func(_ *rig, _, _ string, req *extauthz.Request) { req.Method = "POST" }, reason.DPoPMismatch},
		{"DP04 another path", extauthz.Demand{}, bound, alice, func(_ *rig, _, _ string, req *extauthz.Request) { req.Path = "/y" }, reason.DPoPMismatch},
		{"DP04 the query does not count", extauthz.Demand{}, bound, alice, func(_ *rig, _, _ string, req *extauthz.Request) { req.Path = "/x?a=1" }, reason.OK},
		{"DP05 forwarded headers are not read", extauthz.Demand{}, bound, alice, func(_ *rig, _, _ string, req *extauthz.Request) {
			req.Host = "evil.example"
			req.Headers = append(req.Headers, extauthz.Header{Name: "x-forwarded-host", Value: "api.example"})
		}, reason.DPoPMismatch},
		{"DP06 a proof for another token", extauthz.Demand{}, bound, alice, func(r *rig, _, _ string, req *extauthz.Request) {
			req.Headers[0].Value = "DPoP " + r.issuer.Token(r.now, bound)
		}, reason.DPoPMismatch},
		{"DP08 two DPoP fields", extauthz.Demand{}, bound, alice, func(_ *rig, _, p string, req *extauthz.Request) {
			req.Headers = append(req.Headers, extauthz.Header{Name: "dpop", Value: p})
		}, reason.DPoPInvalid},
		{"DP08 joined by a comma", extauthz.Demand{}, bound, alice, func(_ *rig, _, p string, req *extauthz.Request) { req.Headers[1].Value = p + "," + p }, reason.DPoPInvalid},
		{"DP10 jkt and x5t, both held", extauthz.Demand{}, both, alice, func(_ *rig, _, _ string, req *extauthz.Request) { req.Certificate = cert.PEM }, reason.OK},
		{"DP10 jkt and x5t, no certificate", extauthz.Demand{}, both, alice, nil, reason.BindingMissing},
		{"x5t alone with the DPoP scheme", extauthz.Demand{}, extauthztest.CertificateBound(cert.X5T), mallory, func(_ *rig, _, _ string, req *extauthz.Request) { req.Certificate = cert.PEM }, reason.OK},
		{"unbound with the DPoP scheme", extauthz.Demand{}, nil, alice, nil, reason.BindingMismatch},
		{"order: binding before freshness", extauthz.Demand{MaxAge: time.Nanosecond}, bound, mallory, nil, reason.BindingMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: tc.policy}}})
			tok := r.issuer.Token(r.now, tc.cnf)
			p := tc.by.Proof("GET", dpopURL, tok, r.now)
			req := get("/x", "authorization", "DPoP "+tok, "dpop", p)
			if tc.change != nil {
				tc.change(r, tok, p, req)
			}
			if d, _ := r.answer(req); d.Reason != tc.want {
				t.Errorf("%v, want %v", d.Reason, tc.want)
			}
		})
	}
}

// TestDPoPOnce is DP02 and RV22: of a hundred checks with one proof exactly one
// is let through, and whoever is refused for another reason uses nothing up.
func TestDPoPOnce(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	alice := extauthztest.NewProver(t, "ES256")
	tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
	req := func(p string) *extauthz.Request { return get("/x", "authorization", "DPoP "+tok, "dpop", p) }
	once := alice.Proof("GET", dpopURL, tok, r.now)

	r.Sync.Break("a gap")
	if d, _ := r.answer(req(once)); d.Reason != reason.FeedStale {
		t.Fatalf("while the feed is broken: %v", d.Reason)
	}
	r.Sync.Mend()
	var allowed, replayed atomic.Int64
	var checks sync.WaitGroup
	for range 100 {
		checks.Go(func() {
			switch d, _ := r.answer(req(once)); d.Reason {
			case reason.OK:
				allowed.Add(1)
			case reason.DPoPReplayed:
				replayed.Add(1)
			default:
				t.Errorf("%v", d.Reason)
			}
		})
	}
	checks.Wait()
	if allowed.Load() != 1 || replayed.Load() != 99 {
		t.Errorf("%d allowed, %d replayed", allowed.Load(), replayed.Load())
	}
	// The window of 64 proofs fills: then nothing is taken, and nothing forgotten.
	full := 0
	for i := range 200 {
		d, res := r.answer(req(alice.Proof("GET", dpopURL, tok, r.now, extauthztest.Claims{"jti": fmt.Sprint("flood", i)})))
		switch d.Reason {
		case reason.OK:
		case reason.Overloaded:
			if full++; res.Verdict == reason.Allow {
				t.Error("let through without room to remember the proof")
			}
		default:
			t.Fatalf("%v", d.Reason)
		}
	}
	if d, _ := r.answer(req(once)); full == 0 || d.Reason != reason.DPoPReplayed {
		t.Errorf("%d refused; the first proof again: %v", full, d.Reason)
	}
}

// TestDPoPKeyRevoked: withdrawing a key withdraws the tokens bound to it.
func TestDPoPKeyRevoked(t *testing.T) {
	cert := extauthztest.NewCertificate(t, "alice")
	for name, cnf := range map[string]map[string]any{"jkt alone": {}, "jkt beside x5t": {"x5t#S256": cert.X5T}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extauthz.Config{})
			alice := extauthztest.NewProver(t, "ES256")
			cnf["jkt"] = alice.JKT
			r.revoke(cache.BindingKey, alice.JKT, r.now)
			tok := r.issuer.Token(r.now, extauthztest.Claims{"cnf": cnf})
			req := get("/x", "authorization", "DPoP "+tok, "dpop", alice.Proof("GET", dpopURL, tok, r.now))
			req.Certificate = cert.PEM
			if d, _ := r.answer(req); d.Reason != reason.BindingKeyRevoked {
				t.Errorf("%v", d.Reason)
			}
		})
	}
}
