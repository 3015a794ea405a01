package extauthztest

import (
	"crypto/x509"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Request is what a client sends to Envoy. Proto gives what Envoy 1.40 makes
// of it for ext_authz. The zero Request is GET https://api.example/ without a
// credential.
type Request struct {
	Method   string // GET
	Path     string // /
	Host     string // api.example
	Scheme   string // https
	Protocol string // HTTP/2
	Peer     string // 192.0.2.2: the direct TCP peer

	// Headers are the client's, in order. A pseudo-header here takes the place
	// of the one that Envoy would send; that is how requests are made that
	// contradict themselves.
	Headers [][2]string

	// Cert is the client certificate: source.certificate and, unless Principal
	// is set, source.principal.
	Cert      *x509.Certificate
	Principal string

	Route      string            // context extension holdfast_route; "" = not sent
	Extensions map[string]string // other context extensions of the route

	// MapMode is Envoy without encode_raw_headers: equal names joined by
	// commas, bytes that are not UTF-8 replaced.
	MapMode bool
}

// Proto makes the CheckRequest.
func (r Request) Proto() *authv3.CheckRequest {
	r.setDefaults()
	source := &authv3.AttributeContext_Peer{Address: socket(r.Peer, 49190), Principal: r.Principal}
	if r.Cert != nil {
		source.Certificate = EscapedPEM(r.Cert.Raw)
		if source.Principal == "" {
			source.Principal = principal(r.Cert)
		}
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: "2199233338093722480", Method: r.Method, Path: r.Path, Host: r.Host, Scheme: r.Scheme, Protocol: r.Protocol,
	}
	if fields := r.fields(); r.MapMode {
		http.Headers = joined(fields)
	} else {
		http.HeaderMap = &corev3.HeaderMap{}
		for _, f := range fields {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: f[0], RawValue: []byte(f[1])})
		}
	}
	extensions := map[string]string{}
	for name, value := range r.Extensions {
		extensions[name] = value
	}
	if r.Route != "" {
		extensions["holdfast_route"] = r.Route
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:               source,
		Destination:          &authv3.AttributeContext_Peer{Address: socket("127.0.0.1", 10500)},
		Request:              &authv3.AttributeContext_Request{Time: timestamppb.Now(), Http: http},
		ContextExtensions:    extensions,
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}}
}

func (r *Request) setDefaults() {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&r.Method, "GET"}, {&r.Path, "/"}, {&r.Host, "api.example"},
		{&r.Scheme, "https"}, {&r.Protocol, "HTTP/2"}, {&r.Peer, "192.0.2.2"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
}

// fields are the header fields in Envoy's order. Its codec merges a repeated
// authorization into one field, whatever the encoding to come.
func (r *Request) fields() [][2]string {
	fields := [][2]string{{":method", r.Method}, {":path", r.Path}, {":scheme", r.Scheme}, {":authority", r.Host}}
	authorization := -1
	for _, h := range r.Headers {
		name, value := strings.ToLower(h[0]), h[1]
		if i := pseudo(fields, name); i >= 0 {
			fields[i][1] = value
			continue
		}
		if name == "authorization" {
			if authorization >= 0 {
				fields[authorization][1] += "," + value
				continue
			}
			authorization = len(fields)
		}
		fields = append(fields, [2]string{name, value})
	}
	return append(fields, [2]string{"x-forwarded-proto", r.Scheme})
}

func pseudo(fields [][2]string, name string) int {
	for i := range fields[:4] {
		if fields[i][0] == name {
			return i
		}
	}
	return -1
}

// joined is the headers map: one entry a name, and "!" for what is not UTF-8.
func joined(fields [][2]string) map[string]string {
	headers := map[string]string{}
	for _, f := range fields {
		value := f[1]
		if before, repeated := headers[f[0]]; repeated {
			value = before + "," + value
		}
		headers[f[0]] = strings.ToValidUTF8(value, "!")
	}
	return headers
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// principal is what Envoy puts into source.principal: the URI SAN, else the
// DNS SAN, else the subject.
func principal(cert *x509.Certificate) string {
	switch {
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return cert.Subject.String()
}
