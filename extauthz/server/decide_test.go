package server_test

import (
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

type oneSet struct{ set *jose.KeySet }

func (k oneSet) KeySet(string) (*jose.KeySet, bool) { return k.set, true }
func (k oneSet) Wanted(string)                      {}

// cachedCheck is a decider, and the message of an mTLS-bound request that it
// allows from memory.
func cachedCheck(tb testing.TB) (*server.Decider, []byte) {
	tb.Helper()
	issuer := extauthztest.NewIssuer(tb, idp)
	set, err := jose.ParseKeySet(issuer.JWKS())
	if err != nil {
		tb.Fatal(err)
	}
	policy, err := extauthz.NewPolicy(extauthz.Config{
		FeedMaxAge: time.Hour,
		Classes:    []extauthz.Class{{Name: "any", Demand: extauthz.Demand{MaxAge: time.Hour}}},
		Headers:    extauthz.HeaderNames{Subject: "x-holdfast-subject", Session: "x-holdfast-session", Class: "x-holdfast-class", Remove: []string{"dpop"}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	good, err := memo.New(memo.Config{TTL: time.Hour, MaxMB: 16})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(good.Close)
	tokens, err := token.New(token.Config{
		Issuers: []token.Issuer{{Name: idp, Audiences: []string{extauthztest.Audience}}},
		Keys:    oneSet{set}, Good: good, Classify: policy.Classify,
	})
	if err != nil {
		tb.Fatal(err)
	}
	index, sync := cache.NewIndex(), &cache.Sync{}
	index.Apply(1, time.Now(), []cache.Event{{
		Op: cache.OpRevoke, Kinds: cache.Session, Key: cache.KeyOf(cache.Session, idp, "another"), Issuer: idp, Value: "another",
		Before: time.Now(), Until: time.Now().Add(time.Hour),
	}})
	sync.Advance(1, time.Now())
	decider := server.NewDecider(&extauthz.Checker{Policy: policy, Tokens: tokens, Index: index, Sync: sync, Clock: &extauthz.Clock{}, Certificates: proof.NewCertificates()}, nil)
	cert := extauthztest.NewCertificate(tb, "alice")
	req := extauthztest.Request{Cert: cert.Cert, Path: "/orders/42?page=1", Headers: [][2]string{
		{"authorization", "Bearer " + issuer.Token(time.Now(), extauthztest.CertificateBound(cert.X5T), extauthztest.Claims{"exp": time.Now().Add(time.Hour).Unix()})},
		{"user-agent", "bench/1"}, {"accept", "application/json"}, {"x-request-id", "a9fbd3b9-acfd-4c55-a10e-0bcff7f03564"},
	}}
	msg, err := proto.Marshal(req.Proto())
	if err != nil {
		tb.Fatal(err)
	}
	return decider, msg
}

// BenchmarkCachedCheck is the whole check of a known token without transport.
func BenchmarkCachedCheck(b *testing.B) {
	decider, msg := cachedCheck(b)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = decider.Check(dst[:0], msg)
	}
}

// TestUnreadInMonitorMode: what is not a CheckRequest, or has too many header
// fields, is refused in monitor mode too: whatever identity headers it has
// could not be taken out.
func TestUnreadInMonitorMode(t *testing.T) {
	policy, err := extauthz.NewPolicy(extauthz.Config{Mode: extauthz.ModeMonitor, FeedMaxAge: time.Hour, Classes: []extauthz.Class{{Name: "any"}}})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(token.Config{Issuers: []token.Issuer{{Name: idp, Audiences: []string{"a"}}}, Keys: oneSet{}})
	if err != nil {
		t.Fatal(err)
	}
	decider := server.NewDecider(&extauthz.Checker{Policy: policy, Tokens: tokens, Index: cache.NewIndex(), Sync: &cache.Sync{}, Clock: &extauthz.Clock{}}, nil)
	many := extauthztest.Request{Headers: [][2]string{{"x-holdfast-subject", "root"}}}
	for range 300 {
		many.Headers = append(many.Headers, [2]string{"a", "b"})
	}
	tooMany, err := proto.Marshal(many.Proto())
	if err != nil {
		t.Fatal(err)
	}
	readable, err := proto.Marshal(extauthztest.Request{}.Proto())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		msg     []byte
		verdict string
		reason  string
	}{
		"read, and watched":   {readable, extauthztest.VerdictOK, "credential_missing"},
		"too many headers":    {tooMany, extauthztest.VerdictDenied, "request_malformed"},
		"cut short":           {readable[:len(readable)-1], extauthztest.VerdictDenied, "request_malformed"},
		"no protobuf message": {[]byte("GET / HTTP/1.1"), extauthztest.VerdictDenied, "request_malformed"},
	} {
		var answer authv3.CheckResponse
		if err := proto.Unmarshal(decider.Check(nil, tc.msg), &answer); err != nil {
			t.Fatal(err)
		}
		if a := extauthztest.ReadAnswer(&answer); a.Verdict != tc.verdict || a.Reason() != tc.reason {
			t.Errorf("%s: %v", name, a)
		}
	}
}
