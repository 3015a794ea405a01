package extauthztest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// edge is what Envoy 1.40 has sent with the recommended configuration.
func edge(t *testing.T) *authv3.CheckRequest {
	t.Helper()
	text, err := os.ReadFile("../wire/testdata/checkrequests/70-edge-recommended.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Request json.RawMessage `json:"check_request"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var request authv3.CheckRequest
	if err := protojson.Unmarshal(file.Request, &request); err != nil {
		t.Fatal(err)
	}
	return &request
}

// TestRequestIsEnvoys rebuilds the recorded request from what the client sent.
func TestRequestIsEnvoys(t *testing.T) {
	want := edge(t)
	http := want.GetAttributes().GetRequest().GetHttp()
	r := extauthztest.Request{
		Method: http.GetMethod(), Path: http.GetPath(), Host: http.GetHost(), Scheme: http.GetScheme(), Protocol: http.GetProtocol(),
		Peer: "127.0.0.1", Principal: "spiffe://cluster.local/ns/prod/sa/alice",
	}
	for _, h := range http.GetHeaderMap().GetHeaders()[4:] {
		if h.GetKey() != "x-forwarded-proto" { // Envoy's own, at the end in ours
			r.Headers = append(r.Headers, [2]string{h.GetKey(), string(h.GetRawValue())})
		}
	}
	got := r.Proto()
	diff := cmp.Diff(want, got, protocmp.Transform(),
		protocmp.IgnoreFields(&authv3.AttributeContext_Request{}, "time"),
		protocmp.IgnoreFields(&authv3.AttributeContext_Peer{}, "certificate", "principal"),
		protocmp.IgnoreFields(&authv3.AttributeContext{}, "metadata_context", "tls_session"),
		protocmp.SortRepeatedFields(&corev3.HeaderMap{}, "headers"))
	if diff != "" {
		t.Errorf("(-Envoy +ours)\n%s", diff)
	}
}

// TestEscapedPEM: the recorded certificate, decoded and written again.
func TestEscapedPEM(t *testing.T) {
	want := edge(t).GetAttributes().GetSource().GetCertificate()
	text, err := url.PathUnescape(want)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM in the recorded request")
	}
	if got := extauthztest.EscapedPEM(block.Bytes); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCertificate(t *testing.T) {
	c := extauthztest.NewCertificate(t, "alice")
	sum := sha256.Sum256(c.Cert.Raw)
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); c.X5T != want {
		t.Errorf("x5t#S256 %s, want %s", c.X5T, want)
	}
	source := extauthztest.Request{Cert: c.Cert}.Proto().GetAttributes().GetSource()
	if source.GetCertificate() != c.PEM || source.GetPrincipal() != "spiffe://cluster.local/ns/prod/sa/alice" {
		t.Errorf("source %v", source)
	}
}

func TestHeaders(t *testing.T) {
	r := extauthztest.Request{Headers: [][2]string{
		{"Authorization", "Bearer a"}, {"cookie", "a=1"}, {"x-a", "\xff"}, {"cookie", "b=2"}, {"authorization", "DPoP b"}, {":authority", "other"},
	}}
	raw := [][2]string{}
	for _, h := range r.Proto().GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		raw = append(raw, [2]string{h.GetKey(), string(h.GetRawValue())})
	}
	if diff := cmp.Diff([][2]string{
		{":method", "GET"}, {":path", "/"}, {":scheme", "https"}, {":authority", "other"},
		{"authorization", "Bearer a,DPoP b"}, {"cookie", "a=1"}, {"x-a", "\xff"}, {"cookie", "b=2"}, {"x-forwarded-proto", "https"},
	}, raw); diff != "" {
		t.Errorf("raw (-want +got)\n%s", diff)
	}
	r.MapMode = true
	http := r.Proto().GetAttributes().GetRequest().GetHttp()
	if diff := cmp.Diff(map[string]string{
		":method": "GET", ":path": "/", ":scheme": "https", ":authority": "other",
		"authorization": "Bearer a,DPoP b", "cookie": "a=1,b=2", "x-a": "!", "x-forwarded-proto": "https",
	}, http.GetHeaders()); diff != "" {
		t.Errorf("map (-want +got)\n%s", diff)
	}
	if http.GetHeaderMap() != nil {
		t.Error("map mode has raw headers too")
	}
}

// TestReadAnswer: Envoy's rules, as they were measured.
func TestReadAnswer(t *testing.T) {
	said := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 401}, Body: "no"}
	denied := &authv3.CheckResponse_DeniedResponse{DeniedResponse: said}
	failed := &authv3.CheckResponse_ErrorResponse{ErrorResponse: said}
	for _, tt := range []struct {
		name    string
		r       *authv3.CheckResponse
		verdict string
		status  int
	}{
		{"empty", &authv3.CheckResponse{}, extauthztest.VerdictOK, 200},
		{"denied", &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 16}, HttpResponse: denied}, extauthztest.VerdictDenied, 401},
		{"error", &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 14}, HttpResponse: failed}, extauthztest.VerdictError, 401},
		{"code alone", &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}}, extauthztest.VerdictDenied, 403},
		{"code 0 wins over a denial", &authv3.CheckResponse{HttpResponse: denied}, extauthztest.VerdictOK, 200},
		{"code 0 wins over an error", &authv3.CheckResponse{HttpResponse: failed}, extauthztest.VerdictOK, 200},
	} {
		if a := extauthztest.ReadAnswer(tt.r); a.Verdict != tt.verdict || a.Status != tt.status {
			t.Errorf("%s: %v", tt.name, a)
		}
	}
}
