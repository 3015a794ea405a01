// Package reason is the closed list of what a check can end in: one table
// that gives each outcome its name, its verdict and what the client may see.
// The README's table is held to it by a test.
package reason

// Verdict is what an outcome means to the proxy.
type Verdict uint8

// The zero verdict denies, so that whoever forgets to decide denies. It is not
// Unable: where a proxy fails open it lets an error through, a denial never.
const (
	Deny   Verdict = iota
	Allow          // let the request through
	Unable         // can not decide: error_response, 503
)

// String is the word of the metadata and the metrics.
func (v Verdict) String() string { return [...]string{"deny", "allow", "error"}[v] }

// Reason is one outcome. An outcome is data: the core returns no errors.
type Reason uint8

// The reasons of contract §6, in the order of its table. The zero Reason,
// None, means that nobody decided; it denies as internal.
const (
	None Reason = iota

	OK
	Anonymous

	CredentialAmbiguous
	PathAmbiguous
	RequestMalformed

	CredentialMissing

	TokenMalformed
	TokenTooLarge
	AlgorithmRefused
	TypeRefused
	IssuerUnknown
	KeyUnknown
	SignatureInvalid
	AudienceMismatch
	ClaimsInvalid
	TokenExpired
	TokenNotYetValid
	ClassUnknown
	LifetimeTooLong
	TokenTooOld
	SessionExpired
	BindingMissing
	BindingMismatch
	BindingUnsupported
	TokenRevoked
	SessionRevoked
	SubjectRevoked
	ClientRevoked
	TenantRevoked
	IssuerRevoked
	SigningKeyRevoked
	BindingKeyRevoked
	DeviceRevoked
	StatusInvalid

	DPoPMissing
	DPoPInvalid
	DPoPMismatch
	DPoPExpired
	DPoPReplayed

	DPoPNonceRequired

	AuthTooOld
	ACRInsufficient

	ScopeInsufficient

	FeedStale
	KeysUnavailable
	StatusUnavailable
	NotReady
	RouteUnknown
	Overloaded
	Internal

	count
)

// Codes of the answer's "error" member and of WWW-Authenticate.
const (
	CodeInvalidRequest    = "invalid_request"                  // RFC 6750, 3.1
	CodeInvalidToken      = "invalid_token"                    // RFC 6750, 3.1
	CodeInsufficientScope = "insufficient_scope"               // RFC 6750, 3.1
	CodeInvalidDPoPProof  = "invalid_dpop_proof"               // RFC 9449, 7.1
	CodeUseDPoPNonce      = "use_dpop_nonce"                   // RFC 9449, 9
	CodeStepUp            = "insufficient_user_authentication" // RFC 9470, 3
	CodeUnavailable       = "unavailable"                      // ours: a 503's body
	codeNone              = ""                                 // a challenge without error: RFC 6750, 3.1
)

// row is what the table says of one reason.
type row struct {
	name    string
	verdict Verdict
	status  int
	code    string
	meaning string // for the README and explain
}

var table = [count]row{
	None: {"internal", Deny, 503, CodeUnavailable, "nobody decided: a bug of ours"},

	OK:        {"ok", Allow, 200, codeNone, "every demand is met"},
	Anonymous: {"anonymous", Allow, 200, codeNone, "the route asks for no credential"},

	CredentialAmbiguous: {"credential_ambiguous", Deny, 400, CodeInvalidRequest, "two credentials, or one that is repeated or joined by a comma"},
	PathAmbiguous:       {"path_ambiguous", Deny, 400, CodeInvalidRequest, "proxy and application may read the path differently"},
	RequestMalformed:    {"request_malformed", Deny, 400, CodeInvalidRequest, "no method, path or host, or pseudo-headers that contradict them"},

	CredentialMissing: {"credential_missing", Deny, 401, codeNone, "no credential was sent"},

	TokenMalformed:     {"token_malformed", Deny, 401, CodeInvalidToken, "not a strict compact JWS: alphabet, padding, JSON, duplicate members, crit"},
	TokenTooLarge:      {"token_too_large", Deny, 401, CodeInvalidToken, "longer than limits.max_token_bytes"},
	AlgorithmRefused:   {"algorithm_refused", Deny, 401, CodeInvalidToken, "alg is missing, none, HMAC, or not in the issuer's algorithms"},
	TypeRefused:        {"type_refused", Deny, 401, CodeInvalidToken, "typ is not in the issuer's token_types, or the token is of another kind (ID, refresh, logout)"},
	IssuerUnknown:      {"issuer_unknown", Deny, 401, CodeInvalidToken, "iss is not exactly one of issuers"},
	KeyUnknown:         {"key_unknown", Deny, 401, CodeInvalidToken, "the issuer has no such key, and a refresh has been asked for; or it is no API key of ours"},
	SignatureInvalid:   {"signature_invalid", Deny, 401, CodeInvalidToken, "the signature does not verify with the issuer's key"},
	AudienceMismatch:   {"audience_mismatch", Deny, 401, CodeInvalidToken, "aud holds none of the issuer's audiences"},
	ClaimsInvalid:      {"claims_invalid", Deny, 401, CodeInvalidToken, "a claim is missing, of the wrong type or out of range, or iat lies in the future"},
	TokenExpired:       {"token_expired", Deny, 401, CodeInvalidToken, "exp has passed"},
	TokenNotYetValid:   {"token_not_yet_valid", Deny, 401, CodeInvalidToken, "nbf has not come"},
	ClassUnknown:       {"class_unknown", Deny, 401, CodeInvalidToken, "no class matches the session"},
	LifetimeTooLong:    {"lifetime_too_long", Deny, 401, CodeInvalidToken, "exp - iat is over max_lifetime"},
	TokenTooOld:        {"token_too_old", Deny, 401, CodeInvalidToken, "now - iat is over max_age"},
	SessionExpired:     {"session_expired", Deny, 401, CodeInvalidToken, "now - auth_time is over absolute_timeout"},
	BindingMissing:     {"binding_missing", Deny, 401, CodeInvalidToken, "the token or the policy asks for a proof that is not there"},
	BindingMismatch:    {"binding_mismatch", Deny, 401, CodeInvalidToken, "the proof is by another key than the token is bound to"},
	BindingUnsupported: {"binding_unsupported", Deny, 401, CodeInvalidToken, "cnf names a confirmation method that can not be checked"},
	TokenRevoked:       {"token_revoked", Deny, 401, CodeInvalidToken, "this token is withdrawn (token, token_hash), or its issuer says that it is not active"},
	SessionRevoked:     {"session_revoked", Deny, 401, CodeInvalidToken, "its session is withdrawn"},
	SubjectRevoked:     {"subject_revoked", Deny, 401, CodeInvalidToken, "its subject is withdrawn; a new login helps"},
	ClientRevoked:      {"client_revoked", Deny, 401, CodeInvalidToken, "its client is withdrawn; a new login helps"},
	TenantRevoked:      {"tenant_revoked", Deny, 401, CodeInvalidToken, "its tenant is withdrawn; a new login helps"},
	IssuerRevoked:      {"issuer_revoked", Deny, 401, CodeInvalidToken, "its issuer is withdrawn; a new login helps"},
	SigningKeyRevoked:  {"signing_key_revoked", Deny, 401, CodeInvalidToken, "the key that signed it is withdrawn"},
	BindingKeyRevoked:  {"binding_key_revoked", Deny, 401, CodeInvalidToken, "the key it is bound to is withdrawn"},
	DeviceRevoked:      {"device_revoked", Deny, 401, CodeInvalidToken, "its device is withdrawn"},
	StatusInvalid:      {"status_invalid", Deny, 401, CodeInvalidToken, "its issuer's status list does not call it valid: invalid, suspended, or not in the list"},

	DPoPMissing:  {"dpop_missing", Deny, 401, CodeInvalidDPoPProof, "the token is bound to a DPoP key and no proof was sent"},
	DPoPInvalid:  {"dpop_invalid", Deny, 401, CodeInvalidDPoPProof, "not one proof of RFC 9449: form, typ, alg, jwk, jti, iat, or its signature"},
	DPoPMismatch: {"dpop_mismatch", Deny, 401, CodeInvalidDPoPProof, "the proof is for another method, URI or token (htm, htu, ath)"},
	DPoPExpired:  {"dpop_expired", Deny, 401, CodeInvalidDPoPProof, "the proof's iat is over dpop.max_age ago, or ahead by more than dpop.future_skew"},
	DPoPReplayed: {"dpop_replayed", Deny, 401, CodeInvalidDPoPProof, "the proof has been used"},

	DPoPNonceRequired: {"dpop_nonce_required", Deny, 401, CodeUseDPoPNonce, "the proof has no nonce of ours, or an old one; a fresh one comes with the answer"},

	AuthTooOld:      {"auth_too_old", Deny, 401, CodeStepUp, "now - auth_time is over max_auth_age, or there is no auth_time"},
	ACRInsufficient: {"acr_insufficient", Deny, 401, CodeStepUp, "acr is none of those that are asked for"},

	ScopeInsufficient: {"scope_insufficient", Deny, 403, CodeInsufficientScope, "scope lacks one that is asked for"},

	FeedStale:         {"feed_stale", Unable, 503, CodeUnavailable, "the revocation feed is older than feed.max_age, or its records do not fit"},
	KeysUnavailable:   {"keys_unavailable", Unable, 503, CodeUnavailable, "the issuer's keys have never been loaded, or are too old"},
	StatusUnavailable: {"status_unavailable", Unable, 503, CodeUnavailable, "the token names a status list that is not here: not fetched yet, too old, or not under the issuer's status_lists"},
	NotReady:          {"not_ready", Unable, 503, CodeUnavailable, "the revocation feed has not been read to its end yet"},
	RouteUnknown:      {"route_unknown", Unable, 503, CodeUnavailable, "holdfast_route names a route that is not configured"},
	Overloaded:        {"overloaded", Unable, 503, CodeUnavailable, "too many checks wait for a signature check, or there is no room to remember one more proof"},
	Internal:          {"internal", Unable, 503, CodeUnavailable, "a fault of ours; the log has it under the decision_id"},
}

// All lists every reason that an answer can give, in the table's order.
func All() []Reason {
	all := make([]Reason, 0, count-1)
	for r := OK; r < count; r++ {
		all = append(all, r)
	}
	return all
}

func (r Reason) row() *row {
	if r >= count {
		return &table[None]
	}
	return &table[r]
}

// String is the reason's name in metadata, metrics, logs and documents.
func (r Reason) String() string { return r.row().name }

// Verdict is what the reason means to the proxy.
func (r Reason) Verdict() Verdict { return r.row().verdict }

// Status is the HTTP status of the answer.
func (r Reason) Status() int { return r.row().status }

// Code is the error code that the client sees, "" where the challenge has none.
func (r Reason) Code() string { return r.row().code }

// Meaning says in one line when the reason is given.
func (r Reason) Meaning() string { return r.row().meaning }
