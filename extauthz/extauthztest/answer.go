package extauthztest

import (
	"fmt"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// What Envoy makes of an answer.
const (
	VerdictOK     = "ok"
	VerdictDenied = "denied"
	VerdictError  = "error" // let through by an Envoy with failure_mode_allow
)

// Answer is a CheckResponse as Envoy understands it.
type Answer struct {
	Verdict    string
	Code       int32               // gRPC status.code
	Status     int                 // of the HTTP answer; 200 where the request goes on
	Set        map[string][]string // on ok for the upstream, else for the client
	Removed    []string            // from the request on its way to the upstream
	Challenges []string            // www-authenticate, in order
	Body       string
	Metadata   map[string]any

	Proto *authv3.CheckResponse
}

// ReadAnswer reads a CheckResponse by Envoy's rules: code 0 lets the request
// through whatever else is there; another code with an error_response is an
// error; all the rest is a denial, 403 where it names no status.
func ReadAnswer(response *authv3.CheckResponse) *Answer {
	a := &Answer{
		Verdict: VerdictDenied, Code: response.GetStatus().GetCode(), Status: http.StatusForbidden,
		Set: map[string][]string{}, Metadata: response.GetDynamicMetadata().AsMap(), Proto: response,
	}
	if a.Code == 0 {
		a.Verdict, a.Status = VerdictOK, http.StatusOK
		ok := response.GetOkResponse()
		a.Removed = ok.GetHeadersToRemove()
		a.set(ok.GetHeaders())
		return a
	}
	said := response.GetDeniedResponse()
	if failed := response.GetErrorResponse(); failed != nil {
		a.Verdict, said = VerdictError, failed
	}
	if code := int(said.GetStatus().GetCode()); code != 0 {
		a.Status = code
	}
	a.Body = said.GetBody()
	a.set(said.GetHeaders())
	return a
}

func (a *Answer) set(headers []*corev3.HeaderValueOption) {
	for _, h := range headers {
		name, value := strings.ToLower(h.GetHeader().GetKey()), h.GetHeader().GetValue()
		a.Set[name] = append(a.Set[name], value)
		if name == "www-authenticate" {
			a.Challenges = append(a.Challenges, value)
		}
	}
}

// Header is the value of a header that the answer sets; "" where it does not.
func (a *Answer) Header(name string) string { return strings.Join(a.Set[strings.ToLower(name)], ",") }

// Reason is the reason in the metadata.
func (a *Answer) Reason() string { s, _ := a.Metadata["reason"].(string); return s }

// Decision is what enforce says, in the metadata.
func (a *Answer) Decision() string { s, _ := a.Metadata["decision"].(string); return s }

// String shows an answer in a test's message.
func (a *Answer) String() string {
	return fmt.Sprintf("%s %d (code %d) %v set %v removed %v body %q", a.Verdict, a.Status, a.Code, a.Metadata, a.Set, a.Removed, a.Body)
}
