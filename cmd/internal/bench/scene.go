package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// scene is a configuration and a request that it allows.
type scene struct {
	config  string
	request []byte
}

// failure reports what would fail a test.
type failure struct{ err error }

func (*failure) Helper() {}

func (f *failure) Fatalf(format string, args ...any) { f.err = fmt.Errorf(format, args...); panic(f) }

// newScene writes keys and configuration below dir and makes the request of
// performance.md: an mTLS-bound ES256 token with its certificate, as Envoy
// sends it.
func newScene(dir string) (s *scene, err error) {
	defer func() {
		if f, ok := recover().(*failure); ok {
			err = f.err
		}
	}()
	tb := &failure{}
	issuer := extauthztest.NewIssuer(tb, "https://idp.example")
	jwks := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(jwks, issuer.JWKS(), 0o600); err != nil {
		return nil, err
	}
	s = &scene{config: filepath.Join(dir, "holdfast.yaml")}
	if err := os.WriteFile(s.config, fmt.Appendf(nil, sceneConfig, jwks, filepath.Join(dir, "data")), 0o600); err != nil {
		return nil, err
	}
	certificate := extauthztest.NewCertificate(tb, "bench")
	now := time.Now()
	token := issuer.Token(now, extauthztest.CertificateBound(certificate.X5T), extauthztest.Claims{"exp": now.Add(time.Hour).Unix()})
	request := extauthztest.Request{
		Method: "GET", Path: "/orders/42?page=1", Host: "api.example", Cert: certificate.Cert,
		Headers: [][2]string{
			{"authorization", "Bearer " + token}, {"user-agent", "bench/1"}, {"accept", "application/json"},
			{"accept-encoding", "gzip"}, {"accept-language", "en"}, {"x-request-id", "a9fbd3b9-acfd-4c55-a10e-0bcff7f03564"},
			{"x-forwarded-for", "192.0.2.2"}, {"x-forwarded-proto", "https"}, {"x-envoy-external-address", "192.0.2.2"},
			{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		},
	}
	s.request, err = proto.Marshal(request.Proto())
	return s, err
}

const sceneConfig = `version: 1
listen: {check: {address: "127.0.0.1:0"}, admin: {address: "127.0.0.1:0"}}
issuers:
  - {issuer: "https://idp.example", audiences: ["https://api.example"], jwks_file: %q}
classes:
  - {name: bench, binding: [mtls], max_lifetime: 2h, max_age: 2h}
feed: {embedded: {directory: %q}}
decision_log: {destination: stderr, sample_allow: 0}
`
