package extauthz

import "github.com/holdfast-authz/holdfast/extauthz/reason"

// Response is an answer to Envoy in its own terms; extauthz/wire writes it.
type Response struct {
	// Verdict picks the oneof: Allow = ok_response with status.code 0, Deny =
	// denied_response, Unable = error_response, both with Code.
	Verdict reason.Verdict
	Code    int32 // gRPC status.code: 0 only with Allow
	Status  int   // HTTP status of a denial or an error

	// SetHeaders go to the upstream on Allow (they replace what the client
	// sent) and to the client otherwise.
	SetHeaders []Header
	// RemoveHeaders are taken from the request on Allow. Envoy removes after
	// it has set, so a name may never stand in both.
	RemoveHeaders []string
	Body          string // of a denial or an error

	Metadata Metadata
}

// Metadata is the answer's dynamic metadata, on every answer and with every key.
type Metadata struct {
	Decision   reason.Verdict // what enforce says, also in monitor mode
	Reason     reason.Reason
	Enforced   bool
	DecisionID string
	Class      string
	Route      string
}

// Reset makes the response ready for the next answer and keeps its memory.
func (r *Response) Reset() {
	*r = Response{SetHeaders: r.SetHeaders[:0], RemoveHeaders: r.RemoveHeaders[:0]}
}
