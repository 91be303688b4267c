/**
 * Addresses that a registry must not make us fetch from: the machine itself, its links, and the metadata services there.
 *
 * A registry chooses where redirects and token realms point. One that is elsewhere has no business with what listens on
 * this machine's loopback or on link-local addresses; one that runs there itself may go on doing so.
 */
import dns from 'node:dns'
import net from 'node:net'

const LOCAL = new net.BlockList()
LOCAL.addSubnet('0.0.0.0', 8, 'ipv4') // "this host"; connects to loopback on Linux
LOCAL.addSubnet('127.0.0.0', 8, 'ipv4')
LOCAL.addSubnet('169.254.0.0', 16, 'ipv4')
LOCAL.addAddress('::', 'ipv6')
LOCAL.addAddress('::1', 'ipv6')
LOCAL.addSubnet('fe80::', 10, 'ipv6')
LOCAL.addAddress('fd00:ec2::254', 'ipv6') // a cloud's metadata service, outside the link-local range

const LOOPBACK = new net.BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** Whether an IP address is this machine's or its link's. IPv4 addresses inside IPv6 ones count as what they are. */
function isLocalAddress(address: string): boolean {
  return LOCAL.check(address, net.isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Whether the host of a URL is local by its name alone. */
export function isLocalHost(hostname: string): boolean {
  const address = unbracket(hostname)
  return net.isIP(address) === 0 ? isLocalName(address) : isLocalAddress(address)
}

/** Whether the host of a URL is this very machine by its name alone. */
export function isLoopbackHost(hostname: string): boolean {
  const address = unbracket(hostname)
  if (net.isIP(address) === 0) return isLocalName(address)
  return LOOPBACK.check(address, net.isIPv6(address) ? 'ipv6' : 'ipv4')
}

function isLocalName(name: string): boolean {
  return /^(?:.+\.)?localhost\.?$/.test(name) // RFC 6761, section 6.3
}

function unbracket(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}

/** Code of the error for a name that leads to an address that is out of bounds. */
export const LOCAL_ADDRESS = 'GROOT_LOCAL_ADDRESS'

/**
 * Looks names up for connections and keeps an eye on what they lead to.
 *
 * @param onLookup told whether a name leads to local addresses and to no others
 * @param allowLocal without it a name that leads to any local address is an error
 */
export function watchfulLookup(
  onLookup: (hostname: string, isLocal: boolean) => void,
  allowLocal: boolean,
): net.LookupFunction {
  return (hostname, options, callback) => {
    dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0)
      const local = addresses.filter(({ address }) => isLocalAddress(address))
      onLookup(hostname, local.length === addresses.length)
      if (local.length > 0 && !allowLocal) {
        return callback(Object.assign(new Error('local address'), { code: LOCAL_ADDRESS }), '', 0)
      }
      if (options.all) return callback(null, addresses)
      const [first] = addresses
      return callback(null, first!.address, first!.family) // a lookup without an error has at least one
    })
  }
}
