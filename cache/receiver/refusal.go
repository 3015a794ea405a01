package receiver

import "net/http"

// The error codes of RFC 8935 section 2.4 and of SSF 1.0 (invalid_state).
const (
	invalidRequest       = "invalid_request"
	invalidKey           = "invalid_key"
	invalidIssuer        = "invalid_issuer"
	invalidAudience      = "invalid_audience"
	invalidState         = "invalid_state"
	authenticationFailed = "authentication_failed"
	accessDenied         = "access_denied"
)

// Refusal is why a token is not taken. Its text goes to the sender: it speaks of
// what was sent and of nothing else.
type Refusal struct {
	Code        string // of RFC 8935
	Description string
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Description }

// status is the answer to a push (contract §10; RFC 8935 leaves room for it).
func (r *Refusal) status() int {
	switch r.Code {
	case accessDenied:
		return http.StatusForbidden
	case authenticationFailed:
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

func refuse(code, description string) *Refusal { return &Refusal{code, description} }

func malformed(description string) *Refusal { return refuse(invalidRequest, description) }
