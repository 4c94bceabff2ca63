// Package ipam decides which address a Service gets and reserves it in
// Kube-OVN's own IPAM, which is the only truth: an address is used only while
// a Vip named lb-<service-uid> has it in its status. There is no second book.
//
// A Vip is created complete and never edited (Kube-OVN copies a pending Vip's
// spec into its status without asking its IPAM); to retry or to change, it is
// deleted and created anew.
package ipam
