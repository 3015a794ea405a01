package extauthz

// Request is what a check reads of an Envoy CheckRequest, and nothing else.
// Its strings alias the message they were read from: they are valid until the
// answer is written, and whoever keeps one has to copy it.
type Request struct {
	Method   string // attributes.request.http.method
	Path     string // attributes.request.http.path: with the query, undecoded
	Host     string // attributes.request.http.host
	Scheme   string
	Protocol string

	// Headers are all header fields in their order, pseudo-headers among
	// them: those of header_map (one entry a field), else those of headers
	// (one entry a name, equal fields joined by commas). Names are lower-case
	// as Envoy sends them.
	Headers []Header

	Route       string // attributes.context_extensions["holdfast_route"]
	Certificate string // attributes.source.certificate: URL-encoded PEM of the peer's leaf
	Principal   string // attributes.source.principal
	Peer        string // attributes.source.address: host of the direct TCP peer, for records only
}

// Header is one header field, or in map mode all fields of one name.
type Header struct{ Name, Value string }

// Reset makes the request ready for the next message and keeps its memory.
func (r *Request) Reset() { *r = Request{Headers: r.Headers[:0]} }
