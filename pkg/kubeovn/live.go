package kubeovn

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// For readers that ask the API server itself instead of a Cache. Like all
// decoders these never fail.

// DecodeSubnet reads a Subnet.
func DecodeSubnet(u *unstructured.Unstructured) *Subnet { return decodeSubnet(u) }

// DecodeVip reads a Vip.
func DecodeVip(u *unstructured.Unstructured) *Vip { return decodeVip(u) }

// DecodeIP reads an IP.
func DecodeIP(u *unstructured.Unstructured) *IP { return decodeIP(u) }

// DecodeNAD reads a NetworkAttachmentDefinition.
func DecodeNAD(u *unstructured.Unstructured) *NAD { return decodeNAD(u) }
