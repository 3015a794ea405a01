package wire

import (
	"errors"
	"slices"

	"github.com/holdfast-authz/holdfast/extauthz"
)

// Where DecodeCheck is stricter than proto.Unmarshal, so that no request costs
// without bound. Envoy's own defaults are 60 KiB and 100 header fields.
const (
	MaxMessage = 256 << 10 // bytes of a CheckRequest
	MaxHeaders = 256       // header fields, or names in map mode
	maxDepth   = 128       // of messages and of groups; protobuf's default in C++ is 100
)

// What is over a limit.
var (
	ErrTooLarge       = errors.New("longer than 256 KiB")
	ErrTooManyHeaders = errors.New("more than 256 header fields")
)

// Field numbers of envoy.service.auth.v3 and envoy.config.core.v3. The path
// that is read: CheckRequest -> AttributeContext -> Peer -> Address ->
// SocketAddress, and -> Request -> HttpRequest -> HeaderMap -> HeaderValue.
const (
	checkAttributes = 1

	attrSource        = 1
	attrDestination   = 2
	attrRequest       = 4
	attrExtensions    = 10
	attrMetadata      = 11
	attrTLSSession    = 12
	attrRouteMetadata = 13

	peerAddress     = 1
	peerPrincipal   = 4
	peerCertificate = 5

	addressSocket   = 1
	addressPipe     = 2
	addressInternal = 3

	socketHost = 2

	requestTime = 1
	requestHTTP = 2

	httpID        = 1
	httpMethod    = 2
	httpHeaders   = 3
	httpPath      = 4
	httpHost      = 5
	httpScheme    = 6
	httpQuery     = 7
	httpFragment  = 8
	httpProtocol  = 10
	httpBody      = 11
	httpHeaderMap = 13

	mapHeaders = 1

	headerKey   = 1
	headerValue = 2
	headerRaw   = 3

	entryKey   = 1
	entryValue = 2
)

// routeExtension is the context extension by which a proxy names the route.
const routeExtension = "holdfast_route"

// DecodeCheck reads a CheckRequest into req, which it resets first. The
// strings of req alias msg. After an error req holds a part of the request
// that nobody may decide on.
func DecodeCheck(msg []byte, req *extauthz.Request) error {
	req.Reset()
	if len(msg) > MaxMessage {
		return ErrTooLarge
	}
	d := decoder{req: req}
	f := fields{rest: msg}
	for f.next() {
		if f.num == checkAttributes && f.wire == wireBytes {
			f.err = d.attributes(f.value)
		}
	}
	if d.raw > 0 {
		// Where both encodings come, the one that keeps fields apart counts:
		// the other says the same, joined.
		req.Headers = req.Headers[:d.raw]
	}
	return f.err
}

// decoder fills a request. Messages may be repeated and are then merged, so
// that each of its methods may be called several times.
type decoder struct {
	req *extauthz.Request
	raw int // headers of header_map: they come first in req.Headers
}

// The depths are those of the messages in a CheckRequest, itself 1.
const (
	depthAttributes = maxDepth - 1
	depthPeer       = maxDepth - 2
)

func (d *decoder) attributes(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case attrSource:
			f.err = d.source(f.value)
		case attrDestination:
			f.err = validate(f.value, peer, depthPeer)
		case attrRequest:
			f.err = d.request(f.value)
		case attrExtensions:
			f.err = d.extension(f.value)
		case attrMetadata, attrRouteMetadata:
			f.err = validate(f.value, metadata, depthAttributes-1)
		case attrTLSSession:
			f.err = validate(f.value, tlsSession, depthAttributes-1)
		}
	}
	return f.err
}

func (d *decoder) source(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		switch f.num {
		case peerAddress:
			if f.wire == wireBytes {
				f.err = d.address(f.value)
			}
		case peerPrincipal:
			f.text(&d.req.Principal)
		case peerCertificate:
			f.text(&d.req.Certificate)
		default:
			f.check(peer, depthPeer)
		}
	}
	return f.err
}

// address reads a oneof: the last member that is set clears the others.
func (d *decoder) address(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case addressSocket:
			f.err = d.socketAddress(f.value)
		case addressPipe, addressInternal:
			d.req.Peer = ""
			f.check(address, depthPeer-1)
		}
	}
	return f.err
}

func (d *decoder) socketAddress(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		if f.num == socketHost {
			f.text(&d.req.Peer)
		} else {
			f.check(socketAddress, depthPeer-2)
		}
	}
	return f.err
}

func (d *decoder) extension(msg []byte) error {
	key, value, err := entry(msg)
	if err == nil && key == routeExtension {
		d.req.Route = value
	}
	return err
}

func (d *decoder) request(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case requestTime:
			f.err = validate(f.value, timestamp, depthAttributes-2)
		case requestHTTP:
			f.err = d.http(f.value)
		}
	}
	return f.err
}

func (d *decoder) http(msg []byte) error {
	f := fields{rest: msg}
	var ignored string
	for f.next() {
		switch f.num {
		case httpMethod:
			f.text(&d.req.Method)
		case httpPath:
			f.text(&d.req.Path)
		case httpHost:
			f.text(&d.req.Host)
		case httpScheme:
			f.text(&d.req.Scheme)
		case httpProtocol:
			f.text(&d.req.Protocol)
		case httpID, httpQuery, httpFragment, httpBody:
			f.text(&ignored)
		case httpHeaders:
			if f.wire == wireBytes {
				f.err = d.mapHeader(f.value)
			}
		case httpHeaderMap:
			if f.wire == wireBytes {
				f.err = d.headerMap(f.value)
			}
		}
	}
	return f.err
}

// headerMap reads the header fields as they were sent, one entry each.
func (d *decoder) headerMap(msg []byte) error {
	f := fields{rest: msg}
	for f.next() {
		if f.num == mapHeaders && f.wire == wireBytes {
			f.err = d.rawHeader(f.value)
		}
	}
	return f.err
}

func (d *decoder) rawHeader(msg []byte) error {
	var name, value string
	var raw []byte
	f := fields{rest: msg}
	for f.next() {
		switch f.num {
		case headerKey:
			f.text(&name)
		case headerValue:
			f.text(&value)
		case headerRaw:
			if f.wire == wireBytes {
				raw = f.value
			}
		}
	}
	if f.err != nil {
		return f.err
	}
	if len(raw) > 0 { // bytes: they need not be UTF-8
		value = alias(raw)
	}
	if len(d.req.Headers) >= MaxHeaders {
		return ErrTooManyHeaders
	}
	header := extauthz.Header{Name: name, Value: value}
	if d.raw == len(d.req.Headers) {
		d.req.Headers = append(d.req.Headers, header)
	} else {
		d.req.Headers = slices.Insert(d.req.Headers, d.raw, header)
	}
	d.raw++
	return nil
}

// mapHeader reads an entry of the headers map; of a repeated key the last
// entry counts.
func (d *decoder) mapHeader(msg []byte) error {
	name, value, err := entry(msg)
	if err != nil {
		return err
	}
	for i := d.raw; i < len(d.req.Headers); i++ {
		if d.req.Headers[i].Name == name {
			d.req.Headers[i].Value = value
			return nil
		}
	}
	if len(d.req.Headers) >= MaxHeaders {
		return ErrTooManyHeaders
	}
	d.req.Headers = append(d.req.Headers, extauthz.Header{Name: name, Value: value})
	return nil
}

// entry reads an entry of a map<string, string>; what is missing is "".
func entry(msg []byte) (key, value string, err error) {
	f := fields{rest: msg}
	for f.next() {
		switch f.num {
		case entryKey:
			f.text(&key)
		case entryValue:
			f.text(&value)
		}
	}
	return key, value, f.err
}
