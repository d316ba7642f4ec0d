/** The server's stable codes as sentences a person can act on. */

import { Problem } from './graphql';

const SENTENCES: Record<string, string> = {
  LOGIN_FAILED: '用户名或密码不正确，请核对后重新输入。',
  TOO_MANY_ATTEMPTS: '失败次数过多，请十五分钟后再试。',
  DEMO_ACCOUNT_REFUSED: '演示账号只能在运行服务的本机上使用。',
  DEVICE_REVOKED: '此设备已被停用，请联系管理员。',
  DEVICE_TAKEN: '此设备编号已被他人使用，请再次登录。',
  DEVICE_INVALID: '设备编号无效，请再次登录。',
  UNAUTHENTICATED: '请先登录。',
  TOKEN_EXPIRED: '登录已过期，请重新登录。',
  TOKEN_INVALID: '登录已失效，请重新登录。',
  REFRESH_INVALID: '登录已过期，请重新登录。',
  REFRESH_REUSED: '登录已失效，请重新登录。',
  SESSION_ENDED: '会话已结束，请重新登录。',
  AREA_OUT_OF_SCOPE: '该地区不在您的辖区范围内。',
  AREA_UNKNOWN: '没有这个地区代码。',
  INDICATOR_UNKNOWN: '没有这项指标。',
  INDICATOR_AWAITED: '这项指标所需的台账尚未建立。',
  PERIOD_INVALID: '期间应写作 2020、2020Q3 或 2020-07。',
  DATE_INVALID: '日期应写作 YYYY-MM-DD。',
  PART_INVALID: '这项指标没有这一部分的名单。',
  DAY_UNKNOWN: '那一天台账尚未建立，情况不详，请改查以后的日期。',
  FORBIDDEN: '您没有查看此内容的权限。',
  ROLE_FORBIDDEN: '只有管理员和主管可以办理。',
  REASON_MISSING: '请写明原因。',
  DEVICE_UNKNOWN: '没有这台终端，或不在您的管辖范围内。',
  USER_UNKNOWN: '没有这个人员，或不在您的管辖范围内。',
  ALREADY_RESOLVED: '这条冲突已有人处理，请刷新。',
  NOT_IN_SCOPE: '这条记录不在您的管辖范围内。',
  VALUE_INVALID: '这个值不符合该字段的格式。',
  OUT_OF_SCOPE: '该地区不在您的辖区范围内。',
  PLAN_UNKNOWN: '没有这个规划，或不在您的辖区范围内。',
  OFFLINE: '连接不上服务器，请检查网络后重试。',
  MAP_FAILED: '地图无法显示：浏览器不支持 WebGL 2。右侧表格仍可使用。',
  EMPTY: '请输入用户名和密码。',
};

/** Codes whose message says what is wrong with which number, in Chinese. */
const OWN_WORDS = new Set(['PLAN_INVALID', 'PLAN_TOO_LARGE', 'PLAN_LIMIT', 'LIMIT_INVALID']);

/** Codes after which only a new log-in helps. */
export const SIGNED_OUT = new Set(['UNAUTHENTICATED', 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'REFRESH_INVALID', 'REFRESH_REUSED', 'SESSION_ENDED', 'DEVICE_REVOKED']);

export function sentence(reason: unknown): string {
  const code = reason instanceof Problem ? reason.code : 'UNKNOWN';
  if (reason instanceof Problem && OWN_WORDS.has(code)) return reason.message;
  return SENTENCES[code] ?? `操作未完成，请稍后重试（${code}）。`;
}
