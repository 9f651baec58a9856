/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */


// Proofs (HANDOFF.md, section 5): HMAC-SHA256 of what is said, so that a secret need not be. By FIPS 180-4 and RFC 2104, here because InspIRCd
// has them in modules that need not be loaded.

#pragma once

namespace Handoff
{
	class SHA256
	{
		uint32_t h[8];
		std::string rest; // less than a block
		uint64_t length;

		static uint32_t Right(uint32_t x, int n) { return x >> n | x << (32 - n); }

		void Block(const unsigned char* bytes)
		{
			static const uint32_t k[64] = {
				0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
				0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
				0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
				0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
				0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
				0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
				0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
				0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
			};
			uint32_t w[64], v[8];
			for (int t = 0; t < 16; ++t, bytes += 4)
				w[t] = uint32_t(bytes[0]) << 24 | uint32_t(bytes[1]) << 16 | uint32_t(bytes[2]) << 8 | bytes[3];
			for (int t = 16; t < 64; ++t)
				w[t] = (Right(w[t - 2], 17) ^ Right(w[t - 2], 19) ^ w[t - 2] >> 10) + w[t - 7]
					+ (Right(w[t - 15], 7) ^ Right(w[t - 15], 18) ^ w[t - 15] >> 3) + w[t - 16];
			std::copy(h, h + 8, v);
			for (int t = 0; t < 64; ++t)
			{
				const uint32_t one = v[7] + (Right(v[4], 6) ^ Right(v[4], 11) ^ Right(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[t] + w[t];
				const uint32_t two = (Right(v[0], 2) ^ Right(v[0], 13) ^ Right(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
				std::copy_backward(v, v + 7, v + 8);
				v[4] += one;
				v[0] = one + two;
			}
			for (int i = 0; i < 8; ++i)
				h[i] += v[i];
		}

	 public:
		SHA256()
			: h { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 }, length(0)
		{
		}

		void Update(const std::string& bytes)
		{
			length += bytes.length();
			rest.append(bytes);
			size_t pos = 0;
			for (; rest.length() - pos >= 64; pos += 64)
				Block(reinterpret_cast<const unsigned char*>(rest.data()) + pos);
			rest.erase(0, pos);
		}

		/** The 32 bytes; nothing can be added any more. */
		std::string Sum()
		{
			const uint64_t bits = length * 8;
			std::string end(1, '\x80');
			end.append((119 - length % 64) % 64, '\0');
			for (int shift = 56; shift >= 0; shift -= 8)
				end.push_back(static_cast<char>(bits >> shift));
			Update(end);
			std::string sum;
			for (const uint32_t word : h)
				for (int shift = 24; shift >= 0; shift -= 8)
					sum.push_back(static_cast<char>(word >> shift));
			return sum;
		}
	};

	/** HMAC-SHA256 in lower-case hex. */
	inline std::string Proof(const std::string& secret, const std::string& message)
	{
		std::string key = secret;
		if (key.length() > 64)
		{
			SHA256 shorter;
			shorter.Update(secret);
			key = shorter.Sum();
		}
		key.resize(64);
		std::string in = key, out = key;
		for (size_t i = 0; i < 64; ++i)
		{
			in[i] ^= 0x36;
			out[i] ^= 0x5c;
		}
		SHA256 inner, outer;
		inner.Update(in + message);
		outer.Update(out + inner.Sum());
		std::string hex;
		for (const char c : outer.Sum())
			AppendHex(hex, c);
		return hex;
	}
}
