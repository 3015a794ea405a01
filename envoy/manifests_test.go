package envoy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3" // so that Any members of this type are read strictly
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3" // as above
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"          // as above
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3" // as above
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"                // as above
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // as above
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
)

// load reads a bootstrap file into its proto and refuses members that the
// proto does not have, inside of every typed_config too.
func load(t *testing.T, text []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(doc, &b); err != nil {
		t.Fatal(err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// manager is the connection manager of the first listener.
func manager(t *testing.T, b *bootstrapv3.Bootstrap) *hcmv3.HttpConnectionManager {
	t.Helper()
	for _, f := range b.StaticResources.Listeners[0].FilterChains[0].Filters {
		var m hcmv3.HttpConnectionManager
		if f.GetTypedConfig().UnmarshalTo(&m) == nil {
			return &m
		}
	}
	t.Fatal("no connection manager")
	return nil
}

// authz is the ext_authz filter, which must stand right before the router.
func authz(t *testing.T, b *bootstrapv3.Bootstrap) *authzv3.ExtAuthz {
	t.Helper()
	filters := manager(t, b).HttpFilters
	var a authzv3.ExtAuthz
	if err := filters[len(filters)-2].GetTypedConfig().UnmarshalTo(&a); err != nil {
		t.Fatalf("the last filter but one is not ext_authz: %v", err)
	}
	return &a
}

// shipped lists every YAML file of this folder that Envoy is to read.
func shipped(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no shipped files", err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestShippedFilesFailClosed(t *testing.T) {
	for name, text := range shipped(t) {
		t.Run(name, func(t *testing.T) {
			b := load(t, text)
			a, m := authz(t, b), manager(t, b)
			service := a.GetGrpcService()
			for rule, holds := range map[string]bool{
				"failure_mode_allow is false":            !a.FailureModeAllow,
				"status_on_error is 503":                 a.StatusOnError.GetCode() == 503,
				"timeout is set, at most a second":       service.GetTimeout().AsDuration() > 0 && service.GetTimeout().AsDuration() <= time.Second,
				"the check goes by envoy_grpc":           service.GetEnvoyGrpc().GetClusterName() == "holdfast_check",
				"retries only where no check was made":   service.GetRetryPolicy().GetRetryOn() == "connect-failure,unavailable",
				"a try may take the whole timeout":       service.GetRetryPolicy().GetRetryBackOff().GetMaxInterval().AsDuration() == service.GetTimeout().AsDuration(),
				"raw headers":                            a.EncodeRawHeaders,
				"peer certificate":                       a.IncludePeerCertificate,
				"TLS session":                            a.IncludeTlsSession,
				"no filter_enabled":                      a.FilterEnabled == nil && a.FilterEnabledMetadata == nil,
				"no body is buffered":                    a.WithRequestBody == nil,
				"the route cache stays":                  !a.ClearRouteCache,
				"mutations are validated":                a.ValidateMutations,
				"stream deadlines pass":                  a.DecoderHeaderMutationRules.GetAllowEnvoy().GetValue(),
				"client-sent x-envoy-* are dropped":      m.UseRemoteAddress.GetValue(),
				"paths are normalised":                   m.NormalizePath.GetValue() && m.MergeSlashes,
				"escaped slashes are refused":            m.PathWithEscapedSlashesAction == hcmv3.HttpConnectionManager_REJECT_REQUEST,
				"underscores are refused":                m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction.String() == "REJECT_REQUEST",
				"x-forwarded-client-cert is Envoy's own": m.ForwardClientCertDetails == hcmv3.HttpConnectionManager_SANITIZE_SET,
				"admin is on loopback":                   netip.MustParseAddr(b.Admin.Address.GetSocketAddress().Address).IsLoopback(),
			} {
				if !holds {
					t.Errorf("does not hold: %s", rule)
				}
			}
			for _, h := range m.GetRouteConfig().VirtualHosts {
				for _, r := range h.Routes {
					for filter, config := range r.TypedPerFilterConfig {
						var per authzv3.ExtAuthzPerRoute
						if config.UnmarshalTo(&per) == nil && per.GetDisabled() {
							t.Errorf("route %v: %s is disabled", r.Match, filter)
						}
					}
				}
			}
			check := cluster(t, b, "holdfast_check")
			if p := check.CommonLbConfig.GetHealthyPanicThreshold(); p == nil || p.Value != 0 {
				t.Error("healthy_panic_threshold is not 0")
			}
			if got := check.HealthChecks[0].GetGrpcHealthCheck().GetServiceName(); got != "envoy.service.auth.v3.Authorization" {
				t.Errorf("health check asks for %q", got)
			}
		})
	}
}

func cluster(t *testing.T, b *bootstrapv3.Bootstrap, name string) *clusterv3.Cluster {
	t.Helper()
	for _, c := range b.StaticResources.Clusters {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no cluster %s", name)
	return nil
}

// TestStrictLoad proves that load would notice a misspelt member, which is
// what the other tests rest on.
func TestStrictLoad(t *testing.T) {
	text := bytes.Replace(shipped(t)["envoy.yaml"], []byte("failure_mode_allow:"), []byte("failure_mode_alow:"), 1)
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(doc, new(bootstrapv3.Bootstrap)); err == nil || !strings.Contains(err.Error(), "failure_mode_alow") {
		t.Errorf("protojson.Unmarshal = %v", err)
	}
}

func TestShippedFilesAreValidForEnvoy(t *testing.T) {
	binary, err := Find(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificates(t, dir)
	for name, text := range shipped(t) {
		file := filepath.Join(dir, name)
		text = bytes.ReplaceAll(text, []byte("/etc/envoy/tls/"), []byte(dir+"/"))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Validate(t.Context(), binary, file); err != nil {
			t.Error(err)
		}
		broken := bytes.Replace(text, []byte("failure_mode_allow:"), []byte("failure_mode_alow:"), 1)
		if err := os.WriteFile(file, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Validate(t.Context(), binary, file); err == nil {
			t.Errorf("%s: Envoy takes a misspelt member", name)
		}
	}
}

// TestVariants renders what the shipped file does not show.
func TestVariants(t *testing.T) {
	for name, change := range map[string]func(*Edge){
		"plain HTTP":   func(e *Edge) { e.TLS = nil },
		"no client CA": func(e *Edge) { e.TLS.ClientCAFile = "" },
		"unix sockets": func(e *Edge) { e.Check, e.Upstream = "unix:///run/holdfast.sock", "unix:///run/app.sock" },
		"names":        func(e *Edge) { e.Check, e.Upstream = "holdfast.sec:9191", "app:80" },
		"routes":       func(e *Edge) { e.Routes = []Route{{"/transfer/", "payments"}, {"/healthz", "pub\"lic: {}"}} },
		"odd files":    func(e *Edge) { e.TLS.CertFile, e.AccessLog = "/a: b #c\n\"d\".crt", "/var/log/é\u2028.json" },
		"timeout":      func(e *Edge) { e.Timeout = 1500 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			e := Example()
			change(&e)
			text, err := Render(e)
			if err != nil {
				t.Fatal(err)
			}
			b := load(t, text)
			if got := authz(t, b).GetGrpcService().Timeout.AsDuration(); got != max(e.Timeout, 0) && e.Timeout != 0 {
				t.Errorf("timeout = %s", got)
			}
			chain := b.StaticResources.Listeners[0].FilterChains[0]
			if (chain.TransportSocket != nil) != (e.TLS != nil) {
				t.Fatalf("transport socket = %v", chain.TransportSocket)
			}
			if e.TLS != nil {
				var tls tlsv3.DownstreamTlsContext
				if err := chain.TransportSocket.GetTypedConfig().UnmarshalTo(&tls); err != nil {
					t.Fatal(err)
				}
				if got := tls.CommonTlsContext.TlsCertificates[0].CertificateChain.GetFilename(); got != e.TLS.CertFile {
					t.Errorf("certificate file = %q, want %q", got, e.TLS.CertFile)
				}
				if got := tls.CommonTlsContext.GetValidationContext().GetTrustedCa().GetFilename(); got != e.TLS.ClientCAFile {
					t.Errorf("client CA file = %q, want %q", got, e.TLS.ClientCAFile)
				}
			}
			routes := manager(t, b).GetRouteConfig().VirtualHosts[0].Routes
			if len(routes) != len(e.Routes)+1 {
				t.Fatalf("%d routes", len(routes))
			}
			for i, want := range e.Routes {
				var per authzv3.ExtAuthzPerRoute
				if err := routes[i].TypedPerFilterConfig["envoy.filters.http.ext_authz"].UnmarshalTo(&per); err != nil {
					t.Fatal(err)
				}
				if got := per.GetCheckSettings().ContextExtensions["holdfast_route"]; got != want.Route || routes[i].Match.GetPrefix() != want.Prefix {
					t.Errorf("route %d = %v %q, want %v", i, routes[i].Match, got, want)
				}
			}
		})
	}
}

// certificates writes the files that the shipped configuration names.
func certificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"edge.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt":       {Type: "CERTIFICATE", Bytes: cert},
		"client-ca.crt": {Type: "CERTIFICATE", Bytes: cert},
		"tls.key":       {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
