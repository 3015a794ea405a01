// Package config reads holdfast.yaml.
//
// Load gives a complete Config or every problem of the file at once, each with
// file, line, column and the line itself. A Config that Load returned is whole:
// defaults are filled in, values are in range, names are unique, every class
// and route can match, and the files it names were there. Nobody needs to look
// again, and nobody may change it: it is read by many goroutines.
//
// How a file becomes a Config:
//
//	strict/      YAML to fields: unknown and duplicate keys, types, words; where
//	             each value stood, and how a problem is shown
//	default.go   what a key means when it is left out
//	later.go     keys of the format that this version does not have
//	validate.go  what the fields mean together; listen.go, issuer.go, class.go,
//	             route.go, headers.go and files.go have a subject each
//	schema.go    the same types as a JSON Schema, for editors
//
// The comments on the fields below are the descriptions in that schema.
//
// Paths in the file are relative to the directory that the process was started
// in, as with Envoy, and not to the file: a moved or mounted file keeps meaning
// the same. Environment variables are not looked at.
package config

import (
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// Config is a whole configuration, as it is in force.
type Config struct {
	// Version of this format: 1.
	Version int `yaml:"version" jsonschema:"enum=1"`
	// enforce, or monitor: allow everything and record what enforce would have done.
	Mode string `yaml:"mode" jsonschema:"enum=enforce,enum=monitor"`
	// Where holdfast listens.
	Listen Listen `yaml:"listen"`
	// Who may issue tokens. At least one.
	Issuers []Issuer `yaml:"issuers" jsonschema:"required,minItems=1"`
	// Where a credential may be in a request.
	Credentials []Credential `yaml:"credentials" jsonschema:"minItems=1"`
	// API keys, which are sessions like any other.
	APIKeys *APIKeys `yaml:"api_keys"`
	// Kinds of session. The first whose match holds is the session's class; a session of no class is denied. At least one.
	Classes []Class `yaml:"classes" jsonschema:"required,minItems=1,maxItems=64"`
	// Kinds of request. A route adds to what the class demands and never loosens it.
	Routes []Route `yaml:"routes" jsonschema:"maxItems=1000"`
	// A path that two readers could understand differently: reject it, or (strictest) demand what all routes with paths demand together.
	AmbiguousPaths string `yaml:"ambiguous_paths" jsonschema:"enum=reject,enum=strictest"`
	// Which DPoP proofs hold (RFC 9449).
	DPoP DPoP `yaml:"dpop"`
	// Where the client certificate of a request is found.
	MTLS MTLS `yaml:"mtls"`
	// How the server stops.
	Drain Drain `yaml:"drain"`
	// The log of revocations that all replicas follow.
	Feed Feed `yaml:"feed"`
	// Who may withdraw sessions by events.
	Receivers []Receiver `yaml:"receivers"`
	// Memory of verified and of refused tokens.
	Cache Cache `yaml:"cache"`
	// Request headers for the upstream.
	Headers Headers `yaml:"headers"`
	// One record a decision.
	DecisionLog DecisionLog `yaml:"decision_log"`
	// Bounds on work.
	Limits Limits `yaml:"limits"`

	file *strict.File
}

// Line is the line of the file that sets a key, such as classes[0].max_age; ok
// is false where the default holds.
func (c *Config) Line(path string) (line int, ok bool) { return c.file.Line(path) }

// YAML writes the configuration: with effective all of it, the defaults
// included, else only what the file set. It loads again to an equal Config.
func (c *Config) YAML(effective bool) ([]byte, error) {
	if effective {
		return strict.Dump(c, nil)
	}
	return strict.Dump(c, c.file)
}

// Listen names the listeners.
type Listen struct {
	// ext_authz over gRPC, for Envoy.
	Check CheckListener `yaml:"check"`
	// The admin API over HTTP.
	Admin AdminListener `yaml:"admin"`
	// ext_proc over gRPC. This version has no such listener: only "" (off).
	Streams LaterListener `yaml:"streams"`
	// Events of identity providers over HTTP, for the receivers that are sent to.
	Events EventsListener `yaml:"events"`
}

// EventsListener is the HTTP server that identity providers send events to.
type EventsListener struct {
	// host:port, "" for none.
	Address string `yaml:"address"`
	// Serve TLS. Without it keep it behind a proxy that does.
	TLS *AdminTLS `yaml:"tls"`
}

// CheckListener is the gRPC server that Envoy asks.
type CheckListener struct {
	// host:port, or unix:///path for a Unix socket. Port 0 lets the kernel choose.
	Address string `yaml:"address"`
	// Serve TLS. Without it the connection is plain text: keep it on loopback or on a socket.
	TLS *CheckTLS `yaml:"tls"`
}

// CheckTLS is the TLS of the check listener.
type CheckTLS struct {
	// Certificate chain, PEM.
	CertFile string `yaml:"cert_file" jsonschema:"required"`
	// Private key of the certificate, PEM.
	KeyFile string `yaml:"key_file" jsonschema:"required"`
	// Demand a client certificate by one of these authorities, PEM.
	ClientCAFile string `yaml:"client_ca_file"`
	// Demand that the client certificate has one of these URIs, such as spiffe://prod.example/envoy. Needs client_ca_file.
	ClientURIs []string `yaml:"client_uris"`
}

// AdminListener is the HTTP server that operators ask.
type AdminListener struct {
	// host:port. Other than loopback it needs token_file or tls.client_ca_file.
	Address string `yaml:"address"`
	// File with the bearer token that callers must present.
	TokenFile string `yaml:"token_file"`
	// Serve TLS.
	TLS *AdminTLS `yaml:"tls"`
}

// AdminTLS is the TLS of the admin listener.
type AdminTLS struct {
	// Certificate chain, PEM.
	CertFile string `yaml:"cert_file" jsonschema:"required"`
	// Private key of the certificate, PEM.
	KeyFile string `yaml:"key_file" jsonschema:"required"`
	// Demand a client certificate by one of these authorities, PEM.
	ClientCAFile string `yaml:"client_ca_file"`
}

// LaterListener is a listener that this version does not have.
type LaterListener struct {
	// Only "" (off).
	Address string `yaml:"address" jsonschema:"maxLength=0"`
}

// APIKeys says which API keys there are.
type APIKeys struct {
	// YAML list of entries {id, sha256, client, scopes, tenant, created, expires, owner}: holdfast token hash makes one. Read again when it changes.
	File string `yaml:"file" jsonschema:"required"`
}

// DPoP says which proofs of possession hold.
type DPoP struct {
	// How long ago a proof may have been made.
	MaxAge time.Duration `yaml:"max_age"`
	// How far a client's clock may be ahead.
	FutureSkew time.Duration `yaml:"future_skew"`
	// shared: a proof is used once, exactly at each replica; the others know of it within milliseconds. strict: the feed is asked about each proof, so that it is used once over all replicas; a network call inside a check where the feed is not embedded.
	Replay string `yaml:"replay" jsonschema:"enum=shared,enum=strict"`
	// required: every proof carries a nonce that holdfast has given out; its time then stands for iat.
	Nonce string `yaml:"nonce" jsonschema:"enum=off,enum=required"`
	// Public origins that htu may name. Left out: scheme and authority of the request.
	Origins []string `yaml:"origins"`
}

// MTLS says where client certificates come from.
type MTLS struct {
	// connection: the peer certificate of the connection, as Envoy sends it (include_peer_certificate). xfcc: the last element of x-forwarded-client-cert; only where the proxy itself writes it.
	Source string `yaml:"source" jsonschema:"enum=connection,enum=xfcc"`
}

// Drain is the end of a process.
type Drain struct {
	// How long checks in flight may take to finish after SIGTERM.
	Timeout time.Duration `yaml:"timeout"`
}

// Feed is the log of revocations.
type Feed struct {
	// Key that authenticates the records of the feed, the same at all replicas. Default: feed.key in the embedded directory, made when it is not there.
	KeyFile string `yaml:"key_file"`
	// NATS JetStream inside the process. This is what holds where nats is left out too.
	Embedded *Embedded `yaml:"embedded"`
	// Instead of embedded: the NATS of another replica (feed.embedded.listen), or a cluster.
	NATS *NATS `yaml:"nats"`
	// What this replica keeps of the feed beside it.
	Snapshot Snapshot `yaml:"snapshot"`
	// A feed that is older than this is stale; classes and routes say in on_feed_stale what follows.
	MaxAge time.Duration `yaml:"max_age"`
	// A revocation is kept at least this long. Not shorter than a token can live.
	Retention time.Duration `yaml:"retention"`
}

// StateDirectory is where this replica keeps what it has of the feed.
func (f *Feed) StateDirectory() string {
	if f.NATS != nil {
		return f.Snapshot.Directory
	}
	return f.Embedded.Directory
}

// Embedded is the feed's own store.
type Embedded struct {
	// Directory of the store, made when it is not there.
	Directory string `yaml:"directory"`
	// host:port where other replicas join with feed.nats. Who has the feed's key is let in, nobody else. Left out: nobody can join.
	Listen string `yaml:"listen"`
	// TLS for those who join. Needed on any other than a loopback address.
	TLS *FeedTLS `yaml:"tls"`
}

// FeedTLS is the TLS of the embedded feed's listener.
type FeedTLS struct {
	// Certificate chain, PEM.
	CertFile string `yaml:"cert_file" jsonschema:"required"`
	// Private key of the certificate, PEM.
	KeyFile string `yaml:"key_file" jsonschema:"required"`
	// Demand a client certificate by one of these authorities, PEM.
	ClientCAFile string `yaml:"client_ca_file"`
}

// NATS is a feed outside this process.
type NATS struct {
	// Servers: nats://host:port or tls://host:port. One may name a user and a password.
	URLs []string `yaml:"urls" jsonschema:"required,minItems=1"`
	// NATS credentials (.creds). Left out: the feed's key says who we are, as another replica's embedded feed wants it.
	CredentialsFile string `yaml:"credentials_file"`
	// TLS to the servers.
	TLS *NATSTLS `yaml:"tls"`
	// Name of the stream, which holdfast makes.
	Stream string `yaml:"stream"`
}

// NATSTLS is the TLS to NATS servers.
type NATSTLS struct {
	// Authorities that the servers' certificates are of, PEM. Left out: those of the system.
	CAFile string `yaml:"ca_file"`
	// Certificate of this client, PEM.
	CertFile string `yaml:"cert_file"`
	// Private key of the certificate, PEM.
	KeyFile string `yaml:"key_file"`
}

// Receiver is one stream of events. It has exactly one of these.
type Receiver struct {
	// Security event tokens that a transmitter pushes (RFC 8935): SSF, CAEP, RISC.
	SSFPush *SSFPush `yaml:"ssf_push"`
	// Security event tokens that are polled from a transmitter (RFC 8936).
	SSFPoll *SSFPoll `yaml:"ssf_poll"`
	// OpenID Connect Back-Channel Logout.
	BackchannelLogout *EventSource `yaml:"backchannel_logout"`
	// Global Token Revocation (Okta Universal Logout).
	GlobalTokenRevocation *EventSource `yaml:"global_token_revocation"`
}

// EventSource is who sends signed tokens to a path.
type EventSource struct {
	// Who signs them: one of issuers, unless jwks_uri gives its keys.
	Issuer string `yaml:"issuer" jsonschema:"required"`
	// Their aud: for a logout the client's id, else what names this receiver there.
	Audience string `yaml:"audience" jsonschema:"required"`
	// Keys of the issuer, where it is not one of issuers.
	JWKSURI string `yaml:"jwks_uri"`
	// Path on listen.events that they are sent to.
	Path string `yaml:"path" jsonschema:"required"`
}

// SSFPush is a stream that is pushed.
type SSFPush struct {
	// The transmitter, which signs the tokens: one of issuers, unless jwks_uri gives its keys.
	Issuer string `yaml:"issuer" jsonschema:"required"`
	// The tokens' aud.
	Audience string `yaml:"audience" jsonschema:"required"`
	// Keys of the transmitter, where it is not one of issuers.
	JWKSURI string `yaml:"jwks_uri"`
	// Path on listen.events that they are sent to.
	Path string `yaml:"path" jsonschema:"required"`
	// File with the bearer token that pushes must carry. Left out: the signature alone says who sends.
	BearerTokenFile string `yaml:"bearer_token_file"`
	// strict: SSF 1.0. Others name the deviations of one kind of transmitter.
	Profile string `yaml:"profile" jsonschema:"enum=strict,enum=keycloak,enum=okta,enum=google,enum=sse"`
}

// SSFPoll is a stream that is polled.
type SSFPoll struct {
	// The transmitter, which signs the tokens: one of issuers, unless jwks_uri gives its keys.
	Issuer string `yaml:"issuer" jsonschema:"required"`
	// The tokens' aud.
	Audience string `yaml:"audience" jsonschema:"required"`
	// Keys of the transmitter, where it is not one of issuers.
	JWKSURI string `yaml:"jwks_uri"`
	// The transmitter's poll endpoint: https, or http to a loopback host.
	URL string `yaml:"url" jsonschema:"required"`
	// File with the bearer token for it.
	BearerTokenFile string `yaml:"bearer_token_file"`
	// Time between polls that brought nothing.
	Interval time.Duration `yaml:"interval"`
	// strict: SSF 1.0. Others name the deviations of one kind of transmitter.
	Profile string `yaml:"profile" jsonschema:"enum=strict,enum=keycloak,enum=okta,enum=google,enum=sse"`
}

// Snapshot is what a replica keeps of the feed.
type Snapshot struct {
	// Directory of it, with feed.nats; made when it is not there. With feed.embedded it is the embedded directory.
	Directory string `yaml:"directory"`
	// How often the revocations known here are written to the file index.snapshot, from which the next start reads on.
	Interval time.Duration `yaml:"interval"`
}

// Cache is memory that saves signature checks, never any other check.
type Cache struct {
	// Verified tokens. A hit skips the signature only.
	Tokens Memo `yaml:"tokens"`
	// Tokens that were refused.
	Negative Memo `yaml:"negative"`
}

// Memo is the size of one cache.
type Memo struct {
	// How long an entry serves.
	TTL time.Duration `yaml:"ttl"`
	// Memory for entries, in megabytes.
	MaxMB int `yaml:"max_mb" jsonschema:"minimum=1,maximum=65536"`
}

// Headers names the request headers that holdfast sets for the upstream.
// Those that a client sent as x-holdfast-* are always removed.
type Headers struct {
	// Header for the token's subject.
	Subject string `yaml:"subject"`
	// Header for the session's name.
	Session string `yaml:"session"`
	// Header for the session's class.
	Class string `yaml:"class"`
	// Headers that the upstream must not see.
	Remove []string `yaml:"remove"`
}

// DecisionLog is the record of decisions.
type DecisionLog struct {
	// json: one object a line.
	Format string `yaml:"format" jsonschema:"enum=json" later:"ocsf"`
	// stdout, stderr, or {file: path}.
	Destination Destination `yaml:"destination"`
	// Share of allowed requests that are recorded, from 0 to 1. All others always are.
	SampleAllow float64 `yaml:"sample_allow" jsonschema:"minimum=0,maximum=1"`
}

// Destination is where decisions are recorded. Exactly one member is set.
type Destination struct {
	Stream string // stdout or stderr
	File   string // path of a file that is appended to
}

// Limits bounds what one request may cost.
type Limits struct {
	// Longest credential that is looked at, in bytes.
	MaxTokenBytes int `yaml:"max_token_bytes" jsonschema:"minimum=256,maximum=65536"`
	// Signature checks at a time. 0 is 4 for each core.
	MaxVerifications int `yaml:"max_verifications" jsonschema:"minimum=0,maximum=65536"`
}
