package server_test

import (
	"testing"
	"time"

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
