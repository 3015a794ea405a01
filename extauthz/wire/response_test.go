package wire

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// built makes the message that AppendResponse shall write.
func built(r *extauthz.Response) *authv3.CheckResponse {
	text := func(s string) string { return string([]rune(s)) } // a bad byte becomes U+FFFD
	var headers []*corev3.HeaderValueOption
	seen := map[string]bool{}
	for _, h := range r.SetHeaders {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if r.Verdict != reason.Allow && seen[h.Name] {
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
		seen[h.Name] = true
		headers = append(headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: text(h.Name), Value: text(h.Value)}, AppendAction: action,
		})
	}
	out := &authv3.CheckResponse{Status: &rpcstatus.Status{Code: r.Code}}
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)}, Headers: headers, Body: text(r.Body),
	}
	switch r.Verdict {
	case reason.Allow:
		ok := &authv3.OkHttpResponse{Headers: headers}
		for _, name := range r.RemoveHeaders {
			ok.HeadersToRemove = append(ok.HeadersToRemove, text(name))
		}
		out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: ok}
	case reason.Unable:
		out.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: denied}
	default:
		out.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied}
	}
	out.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{
		"decision":    structpb.NewStringValue(r.Metadata.Decision.String()),
		"reason":      structpb.NewStringValue(r.Metadata.Reason.String()),
		"enforced":    structpb.NewBoolValue(r.Metadata.Enforced),
		"decision_id": structpb.NewStringValue(text(r.Metadata.DecisionID)),
		"class":       structpb.NewStringValue(text(r.Metadata.Class)),
		"route":       structpb.NewStringValue(text(r.Metadata.Route)),
	}}
	return out
}

func read(tb interface{ Fatalf(string, ...any) }, msg []byte) *authv3.CheckResponse {
	var got authv3.CheckResponse
	if err := proto.Unmarshal(msg, &got); err != nil {
		tb.Fatalf("protobuf refuses the answer: %v: %x", err, msg)
	}
	return &got
}

// TestAppendResponse: what is written is the message, in any combination, and
// what stood in the buffer before is still there.
func TestAppendResponse(t *testing.T) {
	texts := rapid.OneOf(rapid.SampledFrom([]string{"", "x", "www-authenticate", "é\xff", strings.Repeat("v", 125), strings.Repeat("v", 128), strings.Repeat("w", 20000)}), rapid.String())
	headers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) extauthz.Header {
		return extauthz.Header{Name: texts.Draw(t, "name"), Value: texts.Draw(t, "value")}
	}), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		r := extauthz.Response{
			Verdict:       rapid.SampledFrom([]reason.Verdict{reason.Deny, reason.Allow, reason.Unable}).Draw(t, "verdict"),
			Code:          rapid.Int32Range(1, 16).Draw(t, "code"),
			Status:        rapid.SampledFrom([]int{302, 400, 401, 403, 503}).Draw(t, "status"),
			SetHeaders:    headers.Draw(t, "headers"),
			RemoveHeaders: rapid.SliceOfN(texts, 0, 6).Draw(t, "remove"),
			Body:          texts.Draw(t, "body"),
			Metadata: extauthz.Metadata{
				Decision:   rapid.SampledFrom([]reason.Verdict{reason.Deny, reason.Allow, reason.Unable}).Draw(t, "decision"),
				Reason:     rapid.SampledFrom(reason.All()).Draw(t, "reason"),
				Enforced:   rapid.Bool().Draw(t, "enforced"),
				DecisionID: texts.Draw(t, "id"), Class: texts.Draw(t, "class"), Route: texts.Draw(t, "route"),
			},
		}
		if r.Verdict == reason.Allow {
			r.Code = 0
		}
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "prefix")
		out := AppendResponse(append([]byte(nil), prefix...), &r)
		if string(out[:len(prefix)]) != string(prefix) {
			t.Fatalf("the buffer's bytes have changed: %x, were %x", out[:len(prefix)], prefix)
		}
		if diff := cmp.Diff(built(&r), read(t, out[len(prefix):]), protocmp.Transform()); diff != "" {
			t.Fatalf("(-built +written)\n%s", diff)
		}
	})
}

// TestResponseFailsClosed: no carelessness in a Response makes Envoy let the
// request through.
func TestResponseFailsClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		r      extauthz.Response
		code   int32
		status int
		error  bool
	}{
		{"the zero Response", extauthz.Response{}, 7, 403, false},
		{"deny without a code", extauthz.Response{Verdict: reason.Deny, Status: 401}, 7, 401, false},
		{"unable without code and status", extauthz.Response{Verdict: reason.Unable}, 14, 503, true},
		{"a verdict that does not exist", extauthz.Response{Verdict: 9}, 7, 403, false},
		{"metadata of a verdict that does not exist", extauthz.Response{Metadata: extauthz.Metadata{Decision: 9, Reason: 255}}, 7, 403, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, AppendResponse(nil, &tt.r))
			said := got.GetDeniedResponse()
			if tt.error {
				said = got.GetErrorResponse()
			}
			if got.GetOkResponse() != nil || said == nil || got.GetStatus().GetCode() != tt.code || int(said.GetStatus().GetCode()) != tt.status {
				t.Errorf("written: %v", got)
			}
		})
	}
	// An allow with a code is a denial to Envoy; the code is not dropped.
	if got := read(t, AppendResponse(nil, &extauthz.Response{Verdict: reason.Allow, Code: 7})); got.GetStatus().GetCode() != 7 {
		t.Errorf("the code is lost: %v", got)
	}
}

// TestMetadataAlwaysThere: contract §10, "Metadata keys are always there".
func TestMetadataAlwaysThere(t *testing.T) {
	got := read(t, AppendResponse(nil, &extauthz.Response{})).GetDynamicMetadata().AsMap()
	want := map[string]any{"decision": "deny", "reason": "internal", "enforced": false, "decision_id": "", "class": "", "route": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// allowed and denied are answers of the usual size.
var (
	allowed = extauthz.Response{
		Verdict: reason.Allow, Status: 200,
		SetHeaders: []extauthz.Header{
			{Name: "x-holdfast-subject", Value: "8f14e45f-ceea-467f-a0e6-7d1b1c2e9a11"},
			{Name: "x-holdfast-session", Value: "S-6512bd43d9caa6e02c990b0a82652dca"},
			{Name: "x-holdfast-class", Value: "browser"},
		},
		RemoveHeaders: []string{"dpop"},
		Metadata: extauthz.Metadata{
			Decision: reason.Allow, Reason: reason.OK, Enforced: true, DecisionID: "0011223344aa-1z", Class: "browser", Route: "payments",
		},
	}
	denied = extauthz.Response{
		Verdict: reason.Deny, Code: 16, Status: 401,
		SetHeaders: []extauthz.Header{
			{Name: "www-authenticate", Value: `Bearer error="invalid_token"`},
			{Name: "cache-control", Value: "no-store"}, {Name: "content-type", Value: "application/json"},
		},
		Body:     `{"error":"invalid_token","decision_id":"0011223344aa-1z"}`,
		Metadata: extauthz.Metadata{Reason: reason.SessionRevoked, Enforced: true, DecisionID: "0011223344aa-1z", Class: "browser"},
	}
)

func TestResponseAllocs(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, r := range []*extauthz.Response{&allowed, &denied} {
		if n := testing.AllocsPerRun(100, func() { buf = AppendResponse(buf[:0], r) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
